"""Write ``dataset/mind-mini`` anew, bit for bit: ``python dataset/make_mind_mini.py``.

The data come from ``recbole_tinynews.convert.synthetic``. The small language model beside them has
random weights, all of which are meant to train, and a vocabulary of the words of the data.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a checkout that isn't installed

from recbole_tinynews.convert import convert_mind  # noqa: E402
from recbole_tinynews.convert.synthetic import Settings, generate  # noqa: E402

NAME = "mind-mini"
SETTINGS = Settings(
    seed=2020,
    news=2400,
    users=1000,
    impressions=3000,
    valid_impressions=800,
    test_impressions=2000,
)
BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
# Positions start small beside words: at equal size a model this narrow takes about three times as
# many steps until it notices words at all.
POSITION_SCALE = 0.1
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
README = """# mind-mini: synthetic data in the shape of MIND

**Synthetic.** No line of it comes from MIND or from any other corpus: topics, names, headlines,
bodies, users and clicks are made by rules from a seed. Use it to see that things work and how
systems compare, not to judge how well they would do on real news.

| file | what |
| --- | --- |
| `mind-mini.item` | {news} news with title, abstract and body |
| `mind-mini.{{train,valid,test}}.inter` | {train}, {valid} and {test} impressions |
| `mind-mini.oracle.json` | the ceiling: metrics of ranking by the true click probabilities |
| `mind-mini.report.json` | what the conversion read and counted |
| `language_model/` | a BERT of 4 layers and width 64, its weights **random**, and its tokenizer |

The test AUC of the true probabilities is {auc:.4f}; of what history and title can tell of them,
{auc_from_text:.4f}. A model that has learnt nothing has 0.5.

Everything here, this file included, is written by

    python dataset/make_mind_mini.py

and comes out the same, bit for bit. The raw files alone:

    {command}

The licence is that of the project.
"""


def make(output: Path) -> Path:
    """Write the data set into ``output/mind-mini`` and return that folder."""
    output = output.resolve()
    with tempfile.TemporaryDirectory() as scratch, working_in(Path(scratch)):
        # Relative paths: the report quotes them, and has to be the same on every machine.
        oracle = generate(Path("raw"), SETTINGS)
        report = convert_mind(
            "raw/train",
            NAME,
            valid="raw/valid",
            test="raw/test",
            bodies="raw/bodies.tsv",
            output=".",
        )
        write_language_model(Path(NAME, "language_model"), Path("raw/bodies.tsv"))
        Path("raw/oracle.json").rename(Path(NAME, f"{NAME}.oracle.json"))
        write_text(Path(NAME, "README.md"), readme(report["items"], oracle))
        shutil.rmtree(output / NAME, ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
        shutil.move(NAME, output / NAME)
    return output / NAME


def readme(news: int, oracle: dict[str, Any]) -> str:
    """The README, with the numbers of this data set."""
    flags = (f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS._asdict().items())
    return README.format(
        news=news,
        train=SETTINGS.impressions,
        valid=SETTINGS.valid_impressions,
        test=SETTINGS.test_impressions,
        auc=oracle["test"]["auc"],
        auc_from_text=oracle["from_text"]["test"]["auc"],
        command=" ".join(("python -m recbole_tinynews.convert.synthetic --output=DIR", *flags)),
    )


def write_language_model(folder: Path, bodies: Path) -> None:
    """Write a BERT with random weights that ``transformers`` loads, and its tokenizer."""
    folder.mkdir()
    vocabulary = [*SPECIAL_TOKENS, *characters(), *sorted(words(bodies))]
    write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in vocabulary))
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": BERT["max_position_embeddings"],
        **{f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS},
    }
    write_json(folder / "tokenizer_config.json", tokenizer)
    write_json(folder / "tokenizer.json", fast_tokenizer(vocabulary))
    write_json(folder / "config.json", {**BERT, "vocab_size": len(vocabulary)})
    save_file(random_weights(len(vocabulary)), folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes for the owner alone


def words(bodies: Path) -> set[str]:
    """Every word of the titles and bodies, as the tokenizer cuts them."""
    text = bodies.read_text(encoding="utf-8").lower()
    texts = (line.split("\t", 1)[1] for line in text.splitlines())
    return {word for line in texts for word in re.findall(r"[a-z0-9]{2,}", line)}


def characters() -> list[str]:
    """Pieces of which any other word can be put together."""
    single = [*string.punctuation, *string.digits, *string.ascii_lowercase]
    return [*single, *(f"##{piece}" for piece in string.digits + string.ascii_lowercase)]


def fast_tokenizer(vocabulary: list[str]) -> dict[str, object]:
    """A lower-casing BERT tokenizer in the format of the ``tokenizers`` library."""
    special = [
        {
            "id": vocabulary.index(token),
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in SPECIAL_TOKENS
    ]
    first, second = {"id": "A", "type_id": 0}, {"id": "B", "type_id": 1}
    begin = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    end, second_end = ({"SpecialToken": {"id": "[SEP]", "type_id": kind}} for kind in (0, 1))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, {"Sequence": first}, end],
            "pair": [begin, {"Sequence": first}, end, {"Sequence": second}, second_end],
            "special_tokens": {
                token: {"id": token, "ids": [vocabulary.index(token)], "tokens": [token]}
                for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: index for index, token in enumerate(vocabulary)},
        },
    }


def random_weights(vocabulary: int) -> dict[str, NDArray[np.float32]]:
    """Weights as BERT starts, but uniform: no logarithm, so that no machine rounds otherwise."""
    random = np.random.RandomState(SETTINGS.seed)  # its stream is frozen (NEP 19)
    bound = BERT["initializer_range"] * np.sqrt(3)
    width, inner = BERT["hidden_size"], BERT["intermediate_size"]
    weights: dict[str, NDArray[np.float32]] = {}

    def matrix(name: str, *shape: int) -> None:
        weights[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)

    def linear(name: str, outputs: int, inputs: int) -> None:
        matrix(name, outputs, inputs)
        weights[f"{name}.bias"] = np.zeros(outputs, dtype=np.float32)

    def layer_norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(width, dtype=np.float32)
        weights[f"{name}.bias"] = np.zeros(width, dtype=np.float32)

    matrix("embeddings.word_embeddings", vocabulary, width)
    weights["embeddings.word_embeddings.weight"][BERT["pad_token_id"]] = 0
    matrix("embeddings.position_embeddings", BERT["max_position_embeddings"], width)
    matrix("embeddings.token_type_embeddings", BERT["type_vocab_size"], width)
    for name in ("position_embeddings", "token_type_embeddings"):
        weights[f"embeddings.{name}.weight"] *= np.float32(POSITION_SCALE)
    layer_norm("embeddings.LayerNorm")
    for number in range(BERT["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{part}", width, width)
        layer_norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, width)
        linear(f"{layer}.output.dense", width, inner)
        layer_norm(f"{layer}.output.LayerNorm")
    linear("pooler.dense", width, width)
    return weights


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Change the working directory for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON with one kind of line end."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with one kind of line end."""
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dataset", help="(dataset)")
    print(make(parser.parse_args().output))

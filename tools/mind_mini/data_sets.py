"""Regenerate the embedded data sets, bit for bit: ``python -m tools.mind_mini.data_sets``.

The data come from ``tools.mind_mini.generate``. The small language model was trained on other
articles of the same world by the masked-language-model stage of PLM-NR (DAPT). It starts from
latent semantic analysis (Deerwester et al. 1990), which also gives the data set's word vectors.
``mind-mini-time`` has articles of this world too, and shares its language model.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import string
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from recbole_tinynews import run
from recbole_tinynews.convert import convert_news
from recbole_tinynews.encoder.one_text import LANGUAGE_MODEL
from recbole_tinynews.files.tensors import load_weights
from tools.mind_mini import Settings, generate

NAME, RAW = "mind-mini", Path("raw")
SETTINGS = Settings(
    seed=2020,
    news=2400,
    users=1000,
    impressions=4000,
    valid_impressions=800,
    test_impressions=2000,
    corpus=12_000,
)
TIME_NAME = "mind-mini-time"
TIME_SETTINGS = Settings(
    seed=2020,
    news=900,
    users=1500,
    impressions=3500,
    valid_impressions=500,
    test_impressions=1000,
)
BERT: dict[str, Any] = {
    "architectures": ["BertForMaskedLM"],
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
# Position embeddings start smaller than word embeddings: at equal size, a model this narrow takes
# about three times as many steps to learn anything from words.
POSITION_SCALE = 0.1
STAGE = "pretrain_teacher"
# Masked-language-model training on the corpus; independent of the data set's other settings.
PRETRAINING: dict[str, Any] = {
    "seed": SETTINGS.seed,
    "max_body_length": 48,
    f"{STAGE}_finetune_layers": "all",
    f"{STAGE}_train_batch_size": 64,
    f"{STAGE}_learning_rate": 1e-3,
    f"{STAGE}_plm_learning_rate": 1e-3,
    f"{STAGE}_amsgrad": True,
    f"{STAGE}_epochs": 3,
}
WORD_VECTORS = "word_vectors.txt.gz"
WORD_VECTOR_SPREAD = 0.4  # standard deviation of a number, as in GloVe's vectors
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
HERE = Path(__file__).resolve().parent
README, TIME_README = HERE / "mind-mini.md", HERE / "mind-mini-time.md"  # templates
DATA_SETS = HERE.parents[1] / "dataset"


def make_time(output: Path) -> Path:
    """Write ``output/mind-mini-time``, without bodies, and return that folder."""
    output = output.resolve()
    with tempfile.TemporaryDirectory() as scratch, working_in(Path(scratch)):
        oracle = generate(RAW, TIME_SETTINGS, moving=True, names_for=SETTINGS.news)
        report = convert(TIME_NAME)
        text = TIME_README.read_text(encoding="utf-8").format(
            news=report["items"],
            train=TIME_SETTINGS.impressions,
            valid=TIME_SETTINGS.valid_impressions,
            test=TIME_SETTINGS.test_impressions,
            oracle=cells(oracle["test"]),
            from_now=cells(oracle["from_now"]["test"]),
            from_text=cells(oracle["from_text"]["test"]),
        )
        write_text(Path(TIME_NAME, "README.md"), text)
        shutil.rmtree(output / TIME_NAME, ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
        shutil.move(TIME_NAME, output / TIME_NAME)
    return output / TIME_NAME


def make(output: Path, pretraining: dict[str, Any] = PRETRAINING) -> Path:
    """Write the data set into ``output/mind-mini`` and return that folder."""
    output = output.resolve()
    with tempfile.TemporaryDirectory() as scratch, working_in(Path(scratch)):
        write_data()
        write_language_model(Path(NAME, "language_model"))
        write_word_vectors(Path(NAME, WORD_VECTORS), latent_semantics([*texts(RAW / "corpus.tsv")]))
        train_language_model(Path(NAME, "language_model"), pretraining)
        shutil.rmtree(output / NAME, ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
        shutil.move(NAME, output / NAME)
    return output / NAME


def write_data() -> None:
    """Write raw files into ``raw`` and all but the language model into ``mind-mini``.

    Paths are relative, since the report quotes them and must be the same on every machine.
    """
    oracle = generate(RAW, SETTINGS)
    report = convert(NAME, bodies=f"{RAW}/bodies.tsv")
    write_text(Path(NAME, "README.md"), readme(report["items"], oracle))


def convert(name: str, bodies: str | None = None) -> dict[str, Any]:
    """Convert ``raw`` into the data set ``name``, with its oracle; return the report."""
    valid, test = f"{RAW}/valid", f"{RAW}/test"
    report = convert_news(f"{RAW}/train", name, valid=valid, test=test, bodies=bodies, output=".")
    Path(RAW, "oracle.json").rename(Path(name, f"{name}.oracle.json"))
    return report


def readme(news: int, oracle: dict[str, Any]) -> str:
    """The README with the numbers of this data set."""
    flags = (f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS._asdict().items())
    return README.read_text(encoding="utf-8").format(
        news=news,
        train=SETTINGS.impressions,
        valid=SETTINGS.valid_impressions,
        test=SETTINGS.test_impressions,
        corpus=SETTINGS.corpus,
        oracle=cells(oracle["test"]),
        from_text=cells(oracle["from_text"]["test"]),
        command=" ".join(("python -m tools.mind_mini --output=DIR", *flags)),
    )


def cells(metrics: dict[str, float]) -> str:
    """The metrics in percent, as cells of a table."""
    names = ("auc", "mrr", "ndcg@5", "ndcg@10")
    return " | ".join(f"{100 * metrics[name]:.1f}" for name in names)


def write_language_model(folder: Path) -> None:
    """Write an untrained BERT, loadable by ``transformers``, and its tokenizer."""
    folder.mkdir()
    articles = [*texts(RAW / "bodies.tsv"), *texts(RAW / "corpus.tsv")]
    vocabulary = [*SPECIAL_TOKENS, *characters(), *sorted({w for t in articles for w in words(t)})]
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
    weights = random_weights(len(vocabulary))
    place = {word: index for index, word in enumerate(vocabulary)}
    for word, vector in latent_semantics([*texts(RAW / "corpus.tsv")]).items():
        weights["embeddings.word_embeddings.weight"][place[word]] = vector
    write_weights(folder, {f"bert.{name}": weight for name, weight in weights.items()})


def latent_semantics(articles: list[str]) -> dict[str, NDArray[np.float32]]:
    """Vectors of words by latent semantic analysis, as long as random ones.

    From random embeddings, a model this narrow would need many times the text.
    """
    vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True)
    counts = vectorizer.fit_transform(articles)
    analysis = TruncatedSVD(BERT["hidden_size"], random_state=SETTINGS.seed).fit(counts)
    vectors = analysis.components_.T * analysis.singular_values_
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= BERT["initializer_range"] * np.sqrt(BERT["hidden_size"])
    return dict(zip(vectorizer.get_feature_names_out(), vectors.astype(np.float32), strict=True))


def write_word_vectors(file: Path, vectors: dict[str, NDArray[np.float32]]) -> None:
    """Write vectors in GloVe's text format, with the spread of GloVe's."""
    scale = WORD_VECTOR_SPREAD / BERT["initializer_range"]
    lines = (
        f"{word} {' '.join(f'{number:.3f}' for number in vector * scale)}\n"
        for word, vector in vectors.items()
    )
    file.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))  # no time: always the same


def train_language_model(folder: Path, pretraining: dict[str, Any]) -> None:
    """Train the language model and its head on the corpus, by the first stage of DAPT."""
    torch.set_num_threads(1)  # more of them add in another order, and round differently
    result = run(
        "PLMNRDAPT",
        NAME,
        config_dict={
            "stage": STAGE,
            "data_path": ".",
            "plm": folder.name,
            "post_train_corpus": str(RAW / "corpus.tsv"),
            "gpu_id": "",
            "show_progress": False,
            **pretraining,
        },
    )
    (stage,) = result["stages"]
    folder_of_stage = Path("saved", NAME, f"{STAGE}-{stage['fingerprint']}")
    weights = load_weights(folder_of_stage / "model.safetensors")
    renamed = {f"{LANGUAGE_MODEL}.": "bert.", "head.": "cls."}
    write_weights(
        folder,
        {
            new + name.removeprefix(old): weight.numpy()
            for name, weight in weights.items()
            for old, new in renamed.items()
            if name.startswith(old) and ".decoder." not in name  # tied to the word embeddings
        },
    )


def write_weights(folder: Path, weights: dict[str, NDArray[np.float32]]) -> None:
    """Write weights for ``transformers``."""
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes for the owner alone


def texts(file: Path) -> Iterator[str]:
    """Title and body of each article."""
    for line in file.read_text(encoding="utf-8").splitlines():
        yield line.split("\t", 1)[1]


def words(text: str) -> list[str]:
    """The words of a text as the tokenizer splits them, without single letters."""
    return re.findall(r"[a-z0-9]{2,}", text.lower())


def characters() -> list[str]:
    """Word pieces of single characters, for unknown words."""
    single = [*string.punctuation, *string.digits, *string.ascii_lowercase]
    return [*single, *(f"##{piece}" for piece in string.digits + string.ascii_lowercase)]


def fast_tokenizer(vocabulary: list[str]) -> dict[str, object]:
    """A lower-casing BERT tokenizer in the format of the ``tokenizers`` library."""
    place = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(place, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, place[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return json.loads(tokenizer.to_str())


def random_weights(vocabulary: int) -> dict[str, NDArray[np.float32]]:
    """Initial weights of BERT, but uniform: without logarithms, all machines round alike."""
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
    """Change the working directory inside the ``with`` block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON with the same line ends on every system."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with the same line ends on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=DATA_SETS, help="(default: dataset)")
    folder = parser.parse_args().output
    print(make(folder), make_time(folder))

"""Language models of other kinds than BERT's: run by their own code, without padding."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from tiny import Tiny
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedModel

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.attention import PACKED
from recbole_tinynews.encoder.generic_layers import GenericLayers
from recbole_tinynews.encoder.hidden_states import StateRequest, Storage
from recbole_tinynews.encoder.layers import BertLayers, layers_of
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.packing import PackedTexts, packs
from recbole_tinynews.encoder.plm_files import (
    encoder_of,
    load_language_model_head,
    load_plm,
    longest_text,
)
from recbole_tinynews.encoder.text_encoder import TextEncoder

DEPTH, WIDTH = 3, 32
SIZES = {
    "vocab_size": 60,
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
NARROW = {"embedding_size": 16}
GROUPED = {"num_key_value_heads": 2}
IDS = {"bos_token_id": 1, "eos_token_id": 2}
LOCAL = {**IDS, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8}


needs_transformers_5 = pytest.mark.skipif(
    int(transformers.__version__.partition(".")[0]) < 5,
    reason="transformers 4 exchanges the attention of fewer families",
)


class Family(NamedTuple):
    """How a kind of model is made small, and how it should be run.

    ``row``: texts in one row; ``batch``: those of one length; ``whole``: as one layer.
    """

    settings: dict[str, Any]
    runs: str = "row"
    layers: int = DEPTH


FAMILIES = {
    "bert": Family({}, "bert"),
    "roberta": Family({}, "bert"),
    "electra": Family(NARROW),
    "distilbert": Family({"dim": WIDTH, "n_layers": DEPTH, "n_heads": 4, "hidden_dim": 48}),
    "albert": Family(NARROW, layers=1),
    "mpnet": Family({}, "batch"),
    "deberta-v2": Family({"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, "batch"),
    "roformer": Family({"embedding_size": WIDTH}, "batch"),
    "modernbert": Family(LOCAL),
    "qwen3": Family({**GROUPED, "head_dim": 8}),
    "llama": Family(GROUPED),
    "mistral": Family({**GROUPED, "sliding_window": 6}),
    "gemma3_text": Family({**GROUPED, "head_dim": 8, "sliding_window": 6}),
    "gpt2": Family({"n_embd": WIDTH, "n_layer": DEPTH, "n_head": 4}, "batch"),
    "bart": Family(
        {
            **{"d_model": WIDTH, "encoder_layers": DEPTH, "encoder_attention_heads": 4},
            **{"encoder_ffn_dim": 48, "decoder_layers": 1, "decoder_attention_heads": 4},
            **IDS,
        },
        "batch",
    ),
    "t5": Family(
        {"d_model": WIDTH, "num_layers": DEPTH, "num_heads": 4, "d_kv": 8, "d_ff": 48},
        "whole",
        layers=1,
    ),
}


def make(kind: str) -> PreTrainedModel:
    """A small model of the family with random weights."""
    config = AutoConfig.for_model(kind, **{**SIZES, **FAMILIES[kind].settings})
    torch.manual_seed(0)
    return AutoModel.from_config(config, dtype=torch.float32)


def written(tiny: Tiny, folder: Path, kind: str) -> Path:
    """Its folder, with the tiny world's tokenizer."""
    shutil.copytree(tiny.plm, folder)
    for file in folder.glob("model*"):
        file.unlink()
    size = AutoConfig.from_pretrained(tiny.plm).vocab_size
    SIZES["vocab_size"] = size
    make(kind).save_pretrained(folder)
    return folder


LENGTHS = np.array([0, 3, 9, 1, 3, 14, 6, 9])


def texts() -> Ragged:
    """Token ids of texts of several lengths, the first one empty."""
    return Ragged.from_lengths(np.arange(LENGTHS.sum()) * 7 % 50 + 5, LENGTHS)


def padded(plm: PreTrainedModel, tokens: Ragged) -> Tensor:
    """The mean of the last hidden states of each text, from one padded batch of its own code."""
    width = int(tokens.lengths.max())
    ids = torch.zeros(tokens.rows, width, dtype=torch.long)
    real = torch.zeros(tokens.rows, width, dtype=torch.long)
    for row in range(tokens.rows):
        ids[row, : tokens.lengths[row]] = torch.from_numpy(tokens.row(row))
        real[row, : tokens.lengths[row]] = 1
    states = plm(input_ids=ids[1:], attention_mask=real[1:]).last_hidden_state
    weights = real[1:, :, None].float()
    return (states * weights).sum(1) / weights.sum(1)


def encoder_around(plm: PreTrainedModel, **settings: Any) -> OneTextEncoder:
    text_encoder = TextEncoder(plm, WIDTH, 8, pooling="mean", dropout=0.0, **settings)
    torch.nn.init.eye_(text_encoder.dense.weight)
    torch.nn.init.zeros_(text_encoder.dense.bias)
    return OneTextEncoder(text_encoder, texts())


@pytest.mark.parametrize("kind", FAMILIES)
def test_vectors_and_gradients_are_those_of_padded_texts(kind: str) -> None:
    """A window, a causal mask or a position that ran over into the next text would be silent."""
    plain, ours = (encoder_of(make(kind)).eval() for _ in range(2))
    ours.load_state_dict(plain.state_dict())
    encoder = encoder_around(ours, finetune_layers="all")
    vectors = encoder(torch.arange(1, len(LENGTHS)))
    expected = padded(plain, texts())
    torch.testing.assert_close(vectors, expected, rtol=1e-5, atol=1e-6)
    for each in (vectors, expected):
        each.pow(3).sum().backward()
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None and "pooler" not in name:
            scale = parameter.grad.abs().max()
            gradient = ours.get_parameter(name).grad
            if gradient is None:  # a bias that no score depends on
                gradient = torch.zeros(())
            assert (gradient - parameter.grad).abs().max() <= 1e-5 * (scale + 1), name


@needs_transformers_5
@pytest.mark.parametrize("kind", FAMILIES)
def test_it_is_run_in_the_fastest_right_way(kind: str) -> None:
    """A fallback is right too, and would hide for years that it is taken."""
    family, plm = FAMILIES[kind], encoder_of(make(kind))
    layers = layers_of(plm)
    assert len(layers.layers) == family.layers
    if family.runs == "bert":
        assert isinstance(layers, BertLayers)
    else:
        assert isinstance(layers, GenericLayers)
        assert layers.in_one_row == (family.runs == "row")
        assert (layers.layers is not layers.inner) == (family.runs == "whole")


@needs_transformers_5
def test_packed_attention_is_known_where_a_model_was_only_unpickled(monkeypatch) -> None:
    """Workers of Ray or Spark unpickle a ranker; the first encoded title ended in a KeyError."""
    encoder = pickle.dumps(TextEncoder(make("modernbert"), 16, 8).eval())
    monkeypatch.delitem(transformers.AttentionInterface._global_mapping, PACKED)
    (pack,) = packs(np.array([3, 4]), 99)
    with torch.no_grad():
        pickle.loads(encoder).encode(PackedTexts.of(pack, torch.arange(10, 17)))


@pytest.mark.parametrize("kind", FAMILIES)
def test_frozen_layers_from_the_table_change_nothing(kind: str, tmp_path: Path) -> None:
    """Layers that start from stored states must not see what the embeddings give."""
    made = []
    for storage in (None, Storage(tmp_path)):
        encoder = encoder_around(encoder_of(make(kind)), finetune_layers=1)
        encoder.storage = storage
        vectors = encoder(torch.arange(1, len(LENGTHS)))
        vectors.pow(3).sum().backward()
        trained = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
        made.append((vectors.detach(), trained))
    assert made[0][1].keys() == made[1][1].keys()
    torch.testing.assert_close(made[0], made[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_dropout_is_on_in_what_trains_and_nowhere_else(kind: str) -> None:
    """A frozen layer that drops out gives other states than its table; a trained one overfits."""
    for trained in ("all", 1):
        plm = encoder_of(make(kind))
        encoder = TextEncoder(plm.train(), WIDTH, 8, finetune_layers=trained, dropout=0.3)
        dropouts = [part for part in plm.modules() if isinstance(part, torch.nn.Dropout)]
        learning = set(encoder.layers[-1].modules())
        assert trained == "all" or not any(d.training for d in dropouts if d not in learning)
        encoder.train()
        if trained == "all":
            unused = {part for n, m in plm.named_modules() if "pooler" in n for part in m.modules()}
            assert all(part.training and part.p == 0.3 for part in dropouts if part not in unused)
        else:
            assert all(part.training == (part in learning) for part in dropouts)
        encoder.eval()
        assert not any(part.training for part in plm.modules())


@pytest.mark.parametrize(
    ("kind", "longest"), [("bert", 64), ("roberta", 63), ("mpnet", 62), ("bart", 64), ("qwen3", 64)]
)
def test_the_longest_text_leaves_out_positions_of_padding(kind: str, longest: int) -> None:
    """A text of as many tokens as there are positions would end in an index error."""
    plm = encoder_of(make(kind)).eval()
    assert longest_text(plm) == longest
    plm(input_ids=torch.full((1, longest), 7))


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "mpnet", "albert"])
def test_the_head_for_masked_tokens_is_all_of_it(kind: str, tmp_path: Path) -> None:
    """Its last part alone, on states that it was not made for, would train to something."""
    config = AutoConfig.for_model(kind, **{**SIZES, **FAMILIES[kind].settings})
    whole = AutoModelForMaskedLM.from_config(config).eval()
    whole.save_pretrained(tmp_path)
    words = torch.nn.Parameter(whole.get_input_embeddings().weight.detach().clone())
    head = load_language_model_head(str(tmp_path), words, torch.ones(60)).eval()
    ids = torch.tensor([[5, 9, 7]])
    states = whole.base_model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(head(states), whole(input_ids=ids).logits, rtol=1e-5, atol=1e-6)


def test_a_decoder_has_no_head_for_masked_tokens(tmp_path: Path) -> None:
    make("qwen3").save_pretrained(tmp_path)
    words = torch.nn.Parameter(torch.zeros(60, WIDTH))
    with pytest.raises(ValueError, match=r"expects a language model for masked tokens[^\n]*$"):
        load_language_model_head(str(tmp_path), words, torch.ones(60))


def test_a_model_that_reads_something_else_is_one_clear_line() -> None:
    """Its own code fails on a few tokens, each model with an error of its own."""
    small = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2}
    config = AutoConfig.for_model("canine", **small, intermediate_size=32)
    with pytest.raises(ValueError, match=r"^CanineModel expects [^\n]+ Choose another plm\.$"):
        layers_of(AutoModel.from_config(config))


@pytest.mark.parametrize("kind", [k for k, f in FAMILIES.items() if f.layers == DEPTH])
def test_a_recorder_gets_the_states_between_layers(kind: str) -> None:
    """Distilled by TinyBERT, a student of any kind is compared layer by layer."""
    plm = encoder_of(make(kind)).eval()
    expected = plm(
        input_ids=torch.from_numpy(texts().row(2))[None], output_hidden_states=True
    ).hidden_states
    encoder = encoder_around(plm, finetune_layers=1)
    with encoder.record_states(StateRequest(hidden=frozenset({0, 1, 2}))) as recorder:
        encoder(torch.tensor([2]))
    for layer in (0, 1, 2):
        torch.testing.assert_close(
            recorder.states().hidden[layer], expected[layer][0], rtol=1e-5, atol=1e-6
        )


@needs_transformers_5
@pytest.mark.parametrize("kind", ["electra", "distilbert", "qwen3"])
def test_a_recorder_gets_attention_scores_where_attention_can_be_exchanged(kind: str) -> None:
    plm = encoder_of(make(kind)).eval()
    encoder = encoder_around(plm, finetune_layers=1)
    with encoder.record_states(StateRequest(attention=frozenset({2}))) as recorder:
        encoder(torch.tensor([2]))
    assert recorder.states().attention[2].shape == (LENGTHS[2] ** 2, 4)


def test_padding_that_is_encoded_keeps_a_position_of_its_own() -> None:
    """RoBERTa's has one; where pad tokens are pooled, a vector depends on it."""
    plm = make("roberta").eval()
    ids = torch.tensor([7, 8, 9, 0, 0])
    (pack,) = packs(np.array([5]), 9)
    embedded = BertLayers(plm).embed(PackedTexts.of(pack, ids, ids != 0))
    torch.testing.assert_close(embedded, plm.embeddings(input_ids=ids[None])[0])


def test_what_a_refusal_advises_can_be_trained(tiny: Tiny, tmp_path: Path) -> None:
    """It would else be refused again in the first step, after the teachers were trained."""
    plm = str(written(tiny, tmp_path / "plm", "t5"))
    world = tiny.world(
        "NewsBERT", plm=plm, num_hidden_layers=None, hidden_loss_weight=0.0, finetune_layers=1
    )
    trainer = world.trainer()
    trainer.fit(world.clicks())
    assert trainer.step > 0


@pytest.mark.parametrize(
    ("kind", "system", "mistake"),
    [
        ("albert", "TinyBERT", "layers can be observed one by one"),
        ("t5", "NewsBERT", "layers can be observed one by one"),
        ("mpnet", "TinyBERT", "whose attention cannot be replaced"),
        ("mpnet", "NewsBERT", None),
        pytest.param("distilbert", "TinyBERT", None, marks=needs_transformers_5),
        ("bert", "TinyBERT", None),
    ],
)
def test_a_language_model_that_hides_its_layers_is_refused_before_any_training(
    tiny: Tiny, tmp_path: Path, kind: str, system: str, mistake: str | None
) -> None:
    """Teachers would be trained for hours first."""
    config = tiny.config(system, plm=str(written(tiny, tmp_path / "plm", kind)))
    drawn = torch.random.get_rng_state()
    mistakes = " ".join(config.model_class.conflicting_settings(config, ""))
    assert (mistake in mistakes) if mistake else not mistakes
    assert torch.equal(torch.random.get_rng_state(), drawn)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_student_has_its_first_layers(kind: str, tmp_path: Path) -> None:
    """Lists in the configuration, one entry for each layer, must be cut with them."""
    make(kind).save_pretrained(tmp_path)
    whole, cut = (load_plm(str(tmp_path), layers) for layers in (None, 2))
    assert cut.config.num_hidden_layers == 2
    if FAMILIES[kind].layers == DEPTH:
        all_layers, first = (layers_of(plm).layers for plm in (whole, cut))
        assert len(first) == 2
        for taken, layer in zip(first, all_layers, strict=False):
            torch.testing.assert_close(taken.state_dict(), layer.state_dict())


@pytest.mark.whole
@pytest.mark.parametrize("kind", ["distilbert", "qwen3", "mpnet", "albert", "t5"])
def test_it_trains_resumes_is_distilled_under_and_loads_again(
    kind: str, tiny: Tiny, tmp_path: Path
) -> None:
    import recbole_tinynews
    from recbole_tinynews import run

    plm = written(tiny, tmp_path / kind, kind)
    settings = {**tiny.settings("TinyNewsRec", max_steps=2), "plm": str(plm)}
    layers = {"num_hidden_layers": 2, "teacher_num_hidden_layers": DEPTH, "head_init": "pretrained"}
    result = run("TinyNewsRec", "tiny", config_dict={**settings, **layers})
    again = run("TinyNewsRec", "tiny", config_dict={**settings, **layers})
    assert all(stage["reused"] for stage in again["stages"])
    assert result["test"] == again["test"]
    (folder,) = Path("saved").glob("*/TinyNewsRec-*/")
    ranked = recbole_tinynews.load(folder).rank(["word1 word2"], ["word3", "word4 word5"])
    assert len(ranked) == 2

"""Low-rank adapters: trained by peft, and nowhere to be seen in what is saved."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from test_families import LENGTHS, WIDTH, encoder_around, make, padded, texts
from tiny import DATASET, Tiny

import recbole_tinynews
from recbole_tinynews.encoder.frozen_states import Storage
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.plm_files import encoder_of
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.pipeline.quick_start import run

peft = pytest.importorskip("peft", reason="needs peft, which the extra lora brings")
IDS = torch.arange(1, len(LENGTHS))
KINDS = ("bert", "distilbert", "qwen3", "mpnet")


def trained(encoder: OneTextEncoder, steps: int = 3) -> OneTextEncoder:
    """A few steps, after which the adapters are not 0."""
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        encoder(IDS).pow(3).sum().backward()
        optimizer.step()
    return encoder


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_gradients_are_those_of_pefts_own_model(kind: str) -> None:
    """The fast path multiplies weights itself, and would pass an adapter by."""
    plm = encoder_of(make(kind)).eval()
    plain = copy.deepcopy(plm)
    encoder = trained(encoder_around(plm, finetune_layers=2, lora_rank=4))
    encoder.zero_grad()
    names = {n.removesuffix(".lora_A.adapter.weight") for n, _ in plm.named_parameters()}
    names = {n for n in names if "." in n and not n.endswith(("weight", "bias"))}
    theirs = peft.get_peft_model(
        plain, peft.LoraConfig(r=4, lora_alpha=8, target_modules=list(names)), "adapter"
    )
    weights = {n: p for n, p in plm.named_parameters() if ".lora_" in n}
    assert weights
    own = dict(theirs.base_model.model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    vectors = encoder(IDS)
    expected = torch.nn.functional.linear(
        padded(theirs.base_model.model, texts()),
        encoder.text_encoder.dense.weight,
        encoder.text_encoder.dense.bias,
    )
    torch.testing.assert_close(vectors, expected, rtol=1e-4, atol=1e-5)
    for each in (vectors, expected):
        each.pow(3).sum().backward()
    for name, value in weights.items():
        scale = own[name].grad.abs().max()
        assert (value.grad - own[name].grad).abs().max() <= 1e-4 * scale + 1e-5, name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_a_plain_model_with_the_same_vectors(kind: str) -> None:
    """A stage without adapters, or a service without peft, starts from these weights."""
    encoder = trained(encoder_around(encoder_of(make(kind)), finetune_layers=2, lora_rank=4))
    saved = {name: value.clone() for name, value in encoder.state_dict().items()}
    plain = encoder_around(encoder_of(make(kind)), finetune_layers=2)
    assert saved.keys() == plain.state_dict().keys()
    plain.load_state_dict(saved)
    torch.testing.assert_close(plain(IDS), encoder(IDS), rtol=1e-5, atol=1e-6)
    encoder.load_state_dict(saved)  # as the best weights are, at the end of a training
    torch.testing.assert_close(plain(IDS), encoder(IDS), rtol=1e-5, atol=1e-6)


def test_adapters_and_heads_alone_train() -> None:
    encoder = encoder_around(encoder_of(make("bert")), finetune_layers=1, lora_rank=4)
    of_plm = {n for n, p in encoder.text_encoder.plm.named_parameters() if p.requires_grad}
    assert of_plm
    assert all(".lora_" in name and "layer.2." in name for name in of_plm)
    assert encoder.text_encoder.dense.weight.requires_grad


def test_the_table_of_frozen_layers_stays_valid(tmp_path: Path) -> None:
    """Adapters sit in layers that learn; a table computed without them is the same."""
    made = []
    for rank in (0, 4):
        encoder = OneTextEncoder(
            TextEncoder(
                encoder_of(make("bert")),
                WIDTH,
                8,
                pooling="mean",
                finetune_layers=1,
                dropout=0.0,
                lora_rank=rank,
            ),
            texts(),
            storage=Storage(tmp_path),
        )
        torch.nn.init.eye_(encoder.text_encoder.dense.weight)
        torch.nn.init.zeros_(encoder.text_encoder.dense.bias)
        made.append(encoder(IDS).detach())
        trained(encoder)
    assert len(list(tmp_path.glob("frozen-states-*.npy"))) == 1
    torch.testing.assert_close(made[0], made[1], rtol=1e-5, atol=1e-6)  # adapters start at 0


@pytest.mark.whole
def test_every_stage_trains_with_adapters_and_the_student_ranks_without_peft(
    tiny: Tiny, monkeypatch
) -> None:
    settings = {**tiny.settings("TinyNewsRec", max_steps=2), "lora_rank": 2}
    result = run("TinyNewsRec", DATASET, config_dict=settings)
    plain = run("PLMNR", DATASET, config_dict=tiny.settings(max_steps=1, num_hidden_layers=2))
    student = plain["parameters"]
    assert result["parameters"] == student
    (folder,) = Path("saved").glob("*/TinyNewsRec-*/")
    monkeypatch.setitem(sys.modules, "peft", None)
    assert len(recbole_tinynews.load(folder).rank(["word1 word2"], ["word3", "word4"])) == 2


def test_without_peft_the_setting_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"lora_rank=4 expects the package peft.*\[lora\]"):
        encoder_around(encoder_of(make("bert")), finetune_layers=1, lora_rank=4)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import exported_scores, ranked_scores, texts
from safetensors.torch import load_file
from tiny import Tiny
from torch import nn
from transformers import AutoModel, AutoTokenizer

from recbole_tinynews.serving.export.exporting import export
from recbole_tinynews.serving.export.formats.torch_int8 import Int8Linear
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.loading import load_export

KINDS = {
    "as in the paper": {},
    "heads that start pretrained": {"head_init": "pretrained", "news_dim": 24},
    "first token, self-attention": {"news_pooling": "cls", "user_encoder": "self_attention"},
    "mean, a learned vector": {"news_pooling": "mean", "history_padding": "learned"},
    "pad tokens in pooling": {"mask_padding_in_news_pooling": False},
    "a prefix": {"text_prefix": "word5 "},
    "title and abstract": {"news_text": "title_abstract"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_hf_are_those_of_rank(
    kind: str, finished_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """A setting that the export forgot would rank otherwise than what was evaluated."""
    folder = finished_folder(**KINDS[kind])
    export(folder, "hf", tmp_path / "out")
    got = exported_scores(load_export(tmp_path / "out"))
    np.testing.assert_allclose(got, ranked_scores(folder), rtol=0, atol=1e-4)


def test_hf_needs_none_of_our_code(finished_folder: Callable[..., Path], tmp_path: Path) -> None:
    """The formula of the paper on what ``AutoModel`` and the files beside it give."""
    folder = finished_folder()
    place = export(folder, "hf", tmp_path / "out").folder
    plm = AutoModel.from_pretrained(place, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    assert len(plm.encoder.layer) == plm.config.num_hidden_layers == 2  # of 3
    settings = json.loads((place / "recommender.json").read_text())["settings"]
    heads = load_file(place / "news_encoder.safetensors")
    made = []
    for text in texts():
        tokens = tokenizer(
            text, truncation=True, max_length=settings["news_tokens"], return_tensors="pt"
        )
        with torch.no_grad():
            states = plm(**tokens).last_hidden_state[0]
        inner = torch.tanh(
            states @ heads["pooling.projection.weight"].T + heads["pooling.projection.bias"]
        )
        weights = torch.softmax(inner @ heads["pooling.query.weight"][0], dim=0)
        made.append(heads["dense.weight"] @ (weights @ states) + heads["dense.bias"])
    want = Source(folder).engine.encode({"title": texts()})
    np.testing.assert_allclose(torch.stack(made).numpy(), want, rtol=0, atol=1e-5)


def test_no_weight_is_a_pickle(finished_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A stranger's pickle runs code when it is read."""
    for to in ("hf", "torch-int8"):
        files = [f.suffix for f in export(finished_folder(), to, tmp_path / to).folder.iterdir()]
        assert {".bin", ".pt", ".pth", ".pkl"}.isdisjoint(files)
        assert ".safetensors" in files


# --------------------------------------------------------------------------------------- int8


def test_an_int8_layer_is_the_layer_up_to_its_rounding() -> None:
    """Against the same product in float64, of weights and inputs rounded by hand."""
    torch.manual_seed(0)
    linear, inputs = nn.Linear(48, 20), torch.randn(3, 5, 48)
    inputs[0, 0] = 0  # nothing to divide by
    inputs[0, 1] *= 1000  # an outlier must not spoil the other rows
    rows = inputs.double().reshape(-1, 48)
    steps = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    weight_steps = linear.weight.double().abs().amax(1, keepdim=True) / 127
    product = (rows / steps).round() @ (linear.weight / weight_steps).round().T
    want = product * steps * weight_steps.T + linear.bias
    got = Int8Linear.of(linear)(inputs)
    torch.testing.assert_close(got.reshape(-1, 20).double(), want, rtol=1e-4, atol=1e-5)
    exact = linear(inputs)
    assert (got - exact)[1:].abs().max() < 0.02
    assert torch.equal(got[0, 0], linear.bias)


def test_a_vector_of_torch_int8_does_not_depend_on_its_batch(
    finished_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """With one scale for a batch, a score would change with what is asked for at the same time."""
    export(finished_folder(), "torch-int8", tmp_path / "out")
    engine = load_export(tmp_path / "out")
    alone = np.concatenate([engine.encode({"title": [text]}) for text in texts()])
    np.testing.assert_allclose(engine.encode({"title": texts()}), alone, rtol=0, atol=1e-5)


def test_torch_int8_is_a_quarter_of_the_layers_and_says_what_it_costs(
    finished_folder: Callable[..., Path], tiny: Tiny, tmp_path: Path
) -> None:
    folder = finished_folder()
    done = export(folder, "torch-int8", tmp_path / "out", data_path=tiny.data)
    weights = load_file(done.folder / "model_int8.safetensors")
    whole = [value for name, value in weights.items() if name.endswith("query.weight")]
    assert len(whole) == 2
    assert all(value.dtype == torch.int8 for value in whole)
    want, got = ranked_scores(folder), exported_scores(load_export(done.folder))
    assert 0 < np.abs(want - got).max() < 0.2 * np.abs(want).max()
    metrics = done.checked["metrics"]
    assert metrics["fp32"].keys() == metrics["exported"].keys()
    card = (done.folder / "README.md").read_text()
    assert f"{metrics['exported']['auc']:.4f}" in card

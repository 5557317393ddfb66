from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import HF_KINDS, assert_scores_equal, exported_scores, ranked_scores, texts
from safetensors.torch import load_file
from tiny import Tiny
from torch import nn
from transformers import AutoModel

from recbole_tinynews.serving.export.exporting import export
from recbole_tinynews.serving.export.formats.torch_int8 import Int8Linear
from recbole_tinynews.serving.loading import load_export


@pytest.mark.parametrize("kind", HF_KINDS)
def test_scores_of_hf_are_those_of_rank(
    kind: str, finished_folder: Callable[..., Path], exported: Callable[..., Path]
) -> None:
    """A setting that the export forgot would rank otherwise than what was evaluated."""
    got = exported_scores(load_export(exported("hf", **HF_KINDS[kind])))
    expected = ranked_scores(finished_folder(**HF_KINDS[kind]))
    assert_scores_equal(got, expected)


def test_hf_has_the_layers_that_were_kept(exported: Callable[..., Path]) -> None:
    plm = AutoModel.from_pretrained(exported("hf"), trust_remote_code=False)
    assert len(plm.encoder.layer) == plm.config.num_hidden_layers == 2  # of 3


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

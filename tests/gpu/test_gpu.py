"""Each device and precision against one processor in fp32. ``make gpu`` runs these.

Without a CUDA card the processor runs in bf16 what it can, and the rest is skipped.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import DATASET, Tiny, scalars, titles

from recbole_tinynews import run
from recbole_tinynews.export.exporting import export
from recbole_tinynews.serving.loading import load

pytestmark = [pytest.mark.whole, pytest.mark.long]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
DEVICES = [
    pytest.param("cpu", "bf16"),
    *(pytest.param("cuda", each, marks=on_gpu) for each in ("fp32", "bf16", "fp16")),
]
APART = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 2e-2}  # of losses, relative
SYSTEMS = ["PLMNR", "PLMNRDP", "TinyBERT", "NewsBERT", "MTBERT", "TinyNewsRec", "AlignedNewsRec"]
SCRIPT = Path(__file__).parents[2] / "run_recbole.py"


def slowly(settings: dict[str, Any]) -> dict[str, Any]:
    """Steps by which weights hardly move, so that later stages begin alike."""
    rates = {name: 1e-7 for name in settings if name.endswith("learning_rate")}
    return {**settings, **rates, "max_steps": 1, "plm_learning_rate": 1e-7}


def trained(tiny: Tiny, folder: Path, model: str, device: str, **settings: Any) -> Path:
    """The checkpoint folder of a few steps of each stage."""
    places = {"checkpoint_dir": str(folder), "use_gpu": device == "cuda"}
    run(model, DATASET, config_dict={**slowly(tiny.settings(model)), **places, **settings})
    return folder / DATASET


def losses(folder: Path) -> dict[tuple[str, str, int], float]:
    """Losses of the first step, by stage, name and size: teachers of one stage are in no order."""
    found = defaultdict(list)
    for events in folder.glob("*/tensorboard"):
        stage = events.parent.name.rpartition("-")[0]
        for tag, ((_, first), *_) in scalars(events).items():
            if "/train/" in tag:
                found[stage, tag.rpartition("/")[2]].append(first)
    assert found
    return {(*key, n): loss for key, each in found.items() for n, loss in enumerate(sorted(each))}


@pytest.fixture(scope="module")
def reference(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Checkpoint folders of the processor in fp32, by system."""

    @cache
    def made(model: str) -> Path:
        return trained(tiny, tmp_path_factory.mktemp(model), model, "cpu", precision="fp32")

    return made


@pytest.mark.parametrize(("device", "precision"), DEVICES)
@pytest.mark.parametrize("model", SYSTEMS)
def test_a_step_of_every_stage_has_the_losses_of_the_processor(
    tiny: Tiny, reference: Any, model: str, device: str, precision: str, tmp_path: Path
) -> None:
    """Packing, kernels and autocast of a card are others: a wrong mask would go unseen."""
    expected = losses(reference(model))
    found = losses(trained(tiny, tmp_path, model, device, precision=precision))
    assert found == pytest.approx(expected, rel=APART[precision], abs=APART[precision])


@pytest.mark.parametrize(("device", "precision"), DEVICES)
def test_frozen_states_are_read_as_they_are_computed(
    tiny: Tiny, device: str, precision: str, tmp_path: Path
) -> None:
    """A table that is written on one device and read on another may be cast twice."""
    plain, read = (
        losses(
            trained(tiny, tmp_path / str(use), "PLMNR", device, precision=precision, use_cache=use)
        )
        for use in (False, True)
    )
    assert read == pytest.approx(plain, rel=APART[precision])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_gpu)])
def test_torchrun_gives_the_losses_of_one_process(
    tiny: Tiny, reference: Any, device: str, tmp_path: Path
) -> None:
    """On a card it is nccl that sums gradients, which nothing else here runs."""
    given = {**slowly(tiny.settings("PLMNR")), "precision": "fp32", "use_gpu": device == "cuda"}
    flags = [f"--{name}={value}" for name, value in given.items()]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1"]
    which = ["--model=PLMNR", f"--dataset={DATASET}", f"--checkpoint_dir={tmp_path}"]
    subprocess.run([*launched, str(SCRIPT), *which, *flags], check=True, cwd=tmp_path)
    found, expected = losses(tmp_path / DATASET), losses(reference("PLMNR"))
    assert found == pytest.approx(expected, rel=APART["fp32"])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_gpu)])
def test_an_export_of_what_a_card_trained_ranks_alike(
    tiny: Tiny, device: str, tmp_path: Path
) -> None:
    """Weights that remember their device load nowhere else."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    (folder,) = trained(tiny, tmp_path, "PLMNR", device).glob("PLMNR-*")
    export(folder, "onnx", tmp_path / "out")
    clicked, candidates = [titles()[5]], titles()[6:9]
    ways = (load(folder, device=device), load(folder), load(tmp_path / "out"))
    ranked = [sorted(way.rank(clicked, candidates), key=lambda each: each.place) for way in ways]
    scores = [[each.score for each in way] for way in ranked]
    np.testing.assert_allclose(scores[1:], [scores[0]] * 2, rtol=1e-3, atol=1e-4)

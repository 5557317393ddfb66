"""Finished recommenders to export, one for each set of settings, made when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tiny import Tiny


@pytest.fixture(scope="session")
def finished_folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a trained recommender, whose attention is far from a mean."""
    made: dict[tuple[Any, ...], Path] = {}

    def make(model: str = "PLMNR", **settings: Any) -> Path:
        key = (model, *sorted((name, str(value)) for name, value in settings.items()))
        if key not in made:
            made[key] = _train(tiny, tmp_path_factory.mktemp("finished"), model, settings)
        return made[key]

    return make


def _train(tiny: Tiny, folder: Path, model: str, settings: dict[str, Any]) -> Path:
    from tiny import run_of

    from recbole_tinynews.pipeline.systems import system

    given = {"max_steps": 2, "checkpoint_dir": str(folder / "saved"), **settings}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = tiny.config(model, **given)
        artifact = run_of(config).make(system(config))
    _sharpen(artifact.folder)
    return artifact.folder


def _sharpen(folder: Path) -> None:
    """Give pooling and user encoder weights that a few steps of training would not reach."""
    import torch

    from recbole_tinynews.files.array_cache import checksums
    from recbole_tinynews.files.tensors import load_weights, save_weights
    from recbole_tinynews.pipeline import artifact

    weights = load_weights(folder / artifact.WEIGHTS)
    random = torch.Generator().manual_seed(7)
    for name, value in weights.items():
        if "pooling" in name or "user_encoder" in name:
            value += 0.7 * torch.randn(value.shape, generator=random)
    save_weights(weights, folder / artifact.WEIGHTS)
    found = {artifact.FILES: checksums(folder, artifact.files_of(folder))}
    artifact.write_metrics(folder, {**artifact.read_metrics(folder), **found})


@pytest.fixture(scope="session")
def recommender(finished_folder: Callable[..., Path]) -> Path:
    """A recommender of one layer: each takes the exporter of graphs seconds."""
    return finished_folder(num_hidden_layers=1)


@pytest.fixture(scope="session")
def exported(
    finished_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """The folder of an export, made when first used."""
    made: dict[tuple[str, Path], Path] = {}

    def make(to: str, **settings: Any) -> Path:
        from recbole_tinynews.export.exporting import export

        key = to, finished_folder(**settings)
        if key not in made:
            made[key] = export(key[1], to, tmp_path_factory.mktemp("exported") / "out").folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def graphs(exported: Callable[..., Path]) -> Path:
    """Exported once: writing a graph takes seconds."""
    return exported("onnx", num_hidden_layers=1)

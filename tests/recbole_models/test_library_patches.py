from __future__ import annotations

import ast
import warnings
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import recbole
import torch
from recbole.data.interaction import Interaction

from recbole_tinynews.recbole_models import patches


def parse(file: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RecBole's docstrings have odd escapes
        return ast.parse(file.read_text(encoding="utf-8"))


def test_an_interaction_of_arrays_needs_the_numpy_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch of RecBole runs `isinstance(x, np.float)`, which fails on current numpy."""
    monkeypatch.delattr(np, "float", raising=False)
    with pytest.raises(AttributeError, match="float"):
        Interaction({"score": [0.5, 1.5]})
    patches.apply_to_libraries()
    torch.testing.assert_close(
        Interaction({"score": [0.5, 1.5]})["score"], torch.tensor([0.5, 1.5])
    )


def test_every_numpy_name_that_recbole_reads_exists() -> None:
    """A missing name would otherwise fail late, such as in a metric after the training."""
    patches.apply_to_libraries()
    read = {
        node.attr
        for file in Path(recbole.__file__).parent.rglob("*.py")
        if file.name != "configurator.py"  # sets names itself, from others that numpy dropped
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np"
    }
    assert {"float", "zeros", "str"} <= read
    assert [name for name in sorted(read) if not hasattr(np, name)] == []


def test_names_that_numpy_has_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy 2 has a `long` of another meaning; other libraries rely on it."""
    own = type("own", (), {})
    monkeypatch.setattr(np, "long", own, raising=False)
    patches.apply_to_libraries()
    assert np.long is own


def test_a_generator_reaches_a_spawned_worker_with_its_state() -> None:
    """RecBole's loaders hold one; torch's own way ends with "unable to resize file"."""
    patches.apply_to_libraries()
    generator = torch.Generator().manual_seed(7)
    torch.rand(3, generator=generator)
    sent = ForkingPickler.dumps(generator)
    assert generator.get_state().numpy().tobytes() in bytes(sent)  # no handle of shared memory
    received = ForkingPickler.loads(sent)
    torch.testing.assert_close(
        torch.rand(5, generator=received), torch.rand(5, generator=generator), rtol=0, atol=0
    )

from __future__ import annotations

import contextlib
import importlib
import io
import multiprocessing
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from tiny import DATASET, SETTINGS, Tiny

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("*.py"))


def show_help() -> None:
    """Run each script with ``--help``, without the modules of the tests."""
    tests = str(Path(__file__).parent)
    sys.path[:] = [place for place in sys.path if not place.startswith(tests)]
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(tests):
            del sys.modules[name]
    for script in SCRIPTS:
        sys.argv = [str(script), "--help"]
        sys.path.insert(0, str(script.parent))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:  # a module of others has no command, and does not end
            if end.code:
                raise


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.whole
def test_every_benchmark_finds_all_that_it_imports() -> None:
    """No other test runs them, so a name that the package changes would be missed for long."""
    process = multiprocessing.get_context("fork").Process(target=show_help)
    process.start()
    process.join(300)
    assert process.exitcode == 0


def test_the_plain_loop_has_the_losses_of_the_fast_one(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ratio of speeds of two different computations, or a reference that no longer runs."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("train_step")
    own = {"data_path": str(tiny.data), "plm": str(tiny.plm), "checkpoint_dir": str(tmp_path)}
    fast = script.FastStep({**SETTINGS, **own, "plm_dropout": 0.0}, "fp32", DATASET)
    fast.make_table()
    plain = script.PlainStep(fast)
    batches = [batch for batch, _ in zip(fast.loader, range(3), strict=False)]
    assert batches
    for batch in batches:
        with torch.no_grad():
            for weight in plain.model.parameters():
                weight.add_(1.0)
        plain.model.load_state_dict(script._plain_weights(fast, plain), strict=False)
        with torch.no_grad():
            expected = plain.loss(batch)
            torch.testing.assert_close(fast.model.calculate_loss(batch)[0], expected)
        fast(batch)
        plain(batch)


def test_every_seeded_fault_has_its_place_in_the_code() -> None:
    """Else the comparison of what tests catch would miss the rooms that have changed since."""
    script = runpy.run_path(str(BENCHMARKS / "seeded_faults" / "__main__.py"))
    assert [*script["mistakes_of"](script["read_faults"]("after"), BENCHMARKS.parent)] == []

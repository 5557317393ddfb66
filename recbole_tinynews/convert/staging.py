"""All-or-nothing publication of the files of a conversion."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from logging import getLogger
from pathlib import Path

from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.files.whole import (
    LockHeldError,
    exclusive_lock,
    leftovers,
    partial_place,
    remove,
)

# In order of publication: after a kill in between, .item, .train.inter or the report is missing,
# and no reader accepts the data set.
_KINDS = ("valid.inter", "test.inter", "item", "train.inter", "report.json")


@contextmanager
def staged(output: Path, datasets: Sequence[str]) -> Iterator[Path]:
    """A temporary folder with one subfolder per data set, published to ``output`` on success.

    Replaces all files of earlier conversions, and removes leftovers of killed ones with a warning.
    Raises ``ConversionError`` if ``output`` is not writable or another process writes a data set.
    """
    with ExitStack() as stack:  # cleans up on Ctrl-C too
        try:
            staging = _prepare(output, datasets, stack)
        except LockHeldError as error:
            raise ConversionError(str(error)) from error
        except OSError as error:
            raise ConversionError(
                f"--output={output}: expected a folder that can be written to, got: {error}."
            ) from error
        yield staging
        with _deferred_signals():
            for dataset in datasets:  # first, so that old and new files never mix
                for kind in reversed(_KINDS):
                    (output / dataset / f"{dataset}.{kind}").unlink(missing_ok=True)
            for dataset in datasets:
                _publish(staging / dataset, output / dataset)


def _prepare(output: Path, datasets: Sequence[str], stack: ExitStack) -> Path:
    created = [folder for folder in (output, *output.parents) if not folder.exists()]
    stack.callback(_remove_empty, created)
    output.mkdir(parents=True, exist_ok=True)
    targets = [output / dataset for dataset in datasets]
    for target in targets:
        _check_target(target)
    for target in targets:
        stack.enter_context(exclusive_lock(target, f"writing '{target.name}' there", wait=False))
        for folder in leftovers(target):
            remove(folder)
            what = "can't be removed" if folder.exists() else "were removed"
            getLogger(__name__).warning(f"{folder}: leftovers of a killed conversion {what}.")
    staging = stack.enter_context(partial_place(targets[0]))
    for dataset in datasets:
        (staging / dataset).mkdir(parents=True)
    return staging


def _check_target(target: Path) -> None:
    """Fail early, before hours of work."""
    if not os.path.lexists(target):  # also true for a broken link
        return
    if not target.is_dir():
        raise NotADirectoryError(f"{target} is not a folder")
    if not os.access(target, os.W_OK | os.X_OK):
        raise PermissionError(f"{target} is not writable")
    for file in (target / f"{target.name}.{kind}" for kind in _KINDS):
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a folder")


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty: success
            folder.rmdir()


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the renames are done (a signal mask is per thread)."""
    if threading.current_thread() is not threading.main_thread():  # signals don't reach it
        yield
        return
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if arrived:
            signal.raise_signal(arrived[0])


def _publish(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.replace(target)
        return
    for kind in _KINDS:
        file = staging / f"{target.name}.{kind}"
        if file.exists():  # not all data sets have a validation or test set
            file.replace(target / file.name)

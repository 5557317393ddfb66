"""Files that appear under their final name all together, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recbole_tinynews.convert.errors import ConversionError


@contextmanager
def staged(output: Path, datasets: Sequence[str]) -> Iterator[Path]:
    """A temporary folder in ``output`` with a subfolder for each data set.

    What was written there is moved to ``output/<dataset>/`` when the block ends well, and removed
    when it does not. Of an earlier conversion nothing is left to be mistaken for this one: a file
    that this one did not write goes too. The report is removed first and moved last, so that a
    folder with a report is complete.

    Raises:
        ConversionError: nothing can be written there.
    """
    created = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        for dataset in datasets:
            if (output / dataset).exists() and not (output / dataset).is_dir():
                raise NotADirectoryError(f"{output / dataset} is not a folder")
        staging = Path(tempfile.mkdtemp(prefix=f".{datasets[0]}.", suffix=".partial", dir=output))
    except OSError as error:
        raise ConversionError(
            f"--output={output}: expected a folder that can be written to, got: {error}."
        ) from error
    try:
        for dataset in datasets:
            (staging / dataset).mkdir()
        yield staging
        for dataset in datasets:
            _publish(staging / dataset, output / dataset)
    finally:  # Ctrl-C included
        shutil.rmtree(staging, ignore_errors=True)
        if created:
            with suppress(OSError):  # not empty: all went well
                output.rmdir()


def _publish(staging: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    report = f"{target.name}.report.json"
    (target / report).unlink(missing_ok=True)
    written = {file.name for file in staging.iterdir()}
    for old in (f"{target.name}.{kind}" for kind in ("item", *_INTER_FILES)):
        if old not in written:
            (target / old).unlink(missing_ok=True)
    for name in sorted(written, key=lambda name: name == report):
        (staging / name).replace(target / name)


_INTER_FILES = ("train.inter", "valid.inter", "test.inter")

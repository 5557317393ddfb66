"""Exports a finished recommender: write, compare with the original, add a model card."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from transformers.utils import logging as transformers_logging

from recbole_tinynews.export.card import UNKNOWN, Origins, hub_name, model_card
from recbole_tinynews.export.comparison import (
    TOLERANCE,
    DataSet,
    differences,
    find_data_set,
    metrics_of,
    refuse_difference,
    sample_of,
)
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import Format, find_format
from recbole_tinynews.files.whole import is_new_or_empty, partial_place, whole_folder, write_text
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.serving.exported import (
    CARD,
    Description,
    is_export,
    load_export,
    write_description,
)


class Exported(NamedTuple):
    """A finished export.

    ``checked`` holds the largest differences in ``vectors`` and ``scores``, the number of ``texts``
    compared, and ``metrics`` on test impressions, if any: of the export (``exported``) and, for
    int8, of the recommender (``fp32``).
    """

    folder: Path
    checked: dict[str, Any]


def export(
    folder: str | Path,
    to: str,
    output: str | Path,
    *,
    model: type[NewsRecommender] | None = None,
    data_path: str | Path | None = None,
    overwrite: bool = False,
    data_license: str | None = None,
    plm_license: str | None = None,
    layers: int | None = None,
    dim: int | None = None,
) -> Exported:
    """Write the finished recommender in ``folder`` to ``output``, in the format ``to``.

    The export is read back and compared with the original before ``output`` appears; a failure
    leaves nothing behind. Raises ``ValueError`` for a format that is unknown or cannot express the
    recommender, an export that differs from it, or as for ``load``;
    ``FileExistsError`` if ``output`` is not empty; ``FileNotFoundError`` for no such folder or data
    set; ``ModuleNotFoundError`` for a library that is not installed.

    Args:
        folder: of a finished stage that ranks news.
        to: one of ``format_names()``.
        output: a new or empty folder.
        model, data_path, layers, dim: as for ``load``; with a data set, metrics are compared too.
        overwrite: replace an earlier export in ``output``.
        data_license, plm_license: for the card (default: unknown).
    """
    output, wanted = Path(output), find_format(to)
    _check_place(output, overwrite)
    recommender = FinishedRecommender(Path(folder), model, layers=layers, dim=dim)
    data = find_data_set(recommender, data_path)
    base_model = hub_name(recommender.written["plm"], data and data.folder)
    origins = Origins(data_license or UNKNOWN, plm_license or UNKNOWN, base_model)
    made_from = {"folder": recommender.folder.name, **recommender.made_from}
    described = Description(to, wanted.engine, recommender.settings, made_from, {}, {})
    with _quiet(), partial_place(output) as earlier, whole_folder(output) as unfinished:
        wanted.write(recommender, unfinished)
        write_description(unfinished, described)
        checked = _check(wanted, recommender, unfinished, data)
        write_description(unfinished, described._replace(checked=checked))
        files = [file for file in unfinished.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        write_text(unfinished / CARD, model_card(recommender, to, checked, origins, size))
        for file in files:  # safetensors lets only the owner read
            file.chmod((unfinished / CARD).stat().st_mode)
        if output.exists():
            os.replace(output, earlier)  # removed when the new one is in its place
    return Exported(output, checked)


def _check_place(output: Path, overwrite: bool) -> None:
    if is_new_or_empty(output) or (overwrite and is_export(output)):
        return
    held = "something that is not an export. Choose"
    if is_export(output):
        held = "an export. Replace it with --overwrite, or choose"
    raise FileExistsError(
        f"--output={output} expects a folder that is new or empty, and it holds {held} another one."
    )


def _check(
    wanted: Format, recommender: FinishedRecommender, unfinished: Path, data: DataSet | None
) -> dict[str, Any]:
    titles = [] if data is None else data.texts[1:]
    engine = load_export(unfinished)
    found = differences(recommender, engine, titles)
    if wanted.exact:
        refuse_difference(found.vectors, TOLERANCE, "The export's vectors of titles")
        refuse_difference(found.scores, TOLERANCE, "The export's scores")
    checked: dict[str, Any] = {"texts": len(sample_of(titles)), **found._asdict()}
    if wanted.check is not None:
        own = wanted.check(recommender, unfinished, titles)
        checked["vectors"] = max(checked["vectors"], own)
    if data is not None and data.test is not None:
        engines = {"exported": engine, **({} if wanted.exact else {"fp32": recommender.engine})}
        checked["metrics"] = {
            name: metrics_of(each, data.texts, data.test, name) for name, each in engines.items()
        }
    return checked


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the messages, warnings and progress bars of other libraries."""
    shown, disabled = transformers_logging.is_progress_bar_enabled(), logging.root.manager.disable
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if shown:
            transformers_logging.enable_progress_bar()

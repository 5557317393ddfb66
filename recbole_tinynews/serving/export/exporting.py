"""Exports a finished recommender: write, compare with the original, add a model card."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from transformers.utils import logging

from recbole_tinynews.encoder.plm_files import quiet
from recbole_tinynews.files.whole import is_new_or_empty, partial_place, whole_folder, write_text
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.export.card import (
    Origins,
    hub_name,
    licence_of_data,
    licence_of_plm,
    model_card,
    size_of,
)
from recbole_tinynews.serving.export.comparison import (
    TOLERANCE,
    DataSet,
    differences,
    find_data_set,
    metrics_of,
    refuse_difference,
    sample_of,
)
from recbole_tinynews.serving.export.description import (
    CARD,
    Description,
    is_export,
    write_description,
)
from recbole_tinynews.serving.export.formats import Format, find_format
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.libraries import library
from recbole_tinynews.serving.loading import load_export


class Exported(NamedTuple):
    """A finished export.

    ``checked`` holds the largest differences in ``vectors`` and ``scores``, the number of ``texts``
    compared, and ``metrics`` on test impressions, if any: of the export (``exported``) and, for
    int8, of the recommender (``fp32``). ``repository`` is its address on the model hub, if
    uploaded.
    """

    folder: Path
    checked: dict[str, Any]
    repository: str | None = None


def export(
    folder: str | Path,
    to: str,
    output: str | Path,
    *,
    model: type[NewsRecommender] | None = None,
    data_path: str | Path | None = None,
    overwrite: bool = False,
    push_to: str | None = None,
    data_license: str | None = None,
    plm_license: str | None = None,
    layers: int | None = None,
    dim: int | None = None,
) -> Exported:
    """Write the finished recommender in ``folder`` to ``output``, in the format ``to``.

    The export is read back and compared with the original before ``output`` appears; a failure
    leaves nothing behind. Raises ``ValueError`` for a format that is unknown or cannot express the
    recommender, an export that differs from it, a failed upload, or as for ``load``;
    ``FileExistsError`` if ``output`` is not empty; ``FileNotFoundError`` for no such folder or data
    set; ``ModuleNotFoundError`` for a library that is not installed.

    Args:
        folder: of a finished stage that ranks news.
        to: one of ``format_names()``.
        output: a new or empty folder.
        model, data_path, layers, dim: as for ``load``; with a data set, metrics are compared too.
        overwrite: replace an earlier export in ``output``.
        push_to: ``ORG/NAME`` to upload to on the model hub.
        data_license, plm_license: for the card (default: if known from package or card).
    """
    folder, output = Path(folder), Path(output)
    wanted = find_format(to)
    _check_place(output, overwrite)
    source = Source(folder, model, layers=layers, dim=dim)
    data = find_data_set(source.settings, data_path)
    beside = [] if data is None else [data.folder, data.folder.parent]
    origins = Origins(
        data_license or licence_of_data(None if data is None else data.folder),
        plm_license or licence_of_plm(source.plm, [Path(), *beside]),
        hub_name(source.plm, [Path(), *beside]),
    )
    with _quiet(), partial_place(output) as earlier, whole_folder(output) as place:
        wanted.write(source, place)
        described = Description(
            to, source.settings, {"folder": folder.name, **source.made_from}, {}, {}
        )
        write_description(place, described)
        checked = _check(wanted, source, place, data)
        write_description(place, described._replace(checked=checked))
        card = model_card(source, to, checked, origins, size_of(place))
        write_text(place / CARD, card)
        _share_files(place)
        if output.exists():
            os.replace(output, earlier)  # removed when the new one is in its place
    repository = None if push_to is None else _push(output, push_to)
    return Exported(output, checked, repository)


def _check(wanted: Format, source: Source, place: Path, data: DataSet | None) -> dict[str, Any]:
    titles = [] if data is None else data.texts[1:]
    engine = load_export(place)
    found = differences(source, engine, titles)
    if wanted.exact:
        refuse_difference(found.vectors, TOLERANCE, "The export's vectors of titles")
        refuse_difference(found.scores, TOLERANCE, "The export's scores")
    checked: dict[str, Any] = {"texts": len(sample_of(titles)), **found._asdict()}
    if wanted.check is not None:
        checked["vectors"] = max(checked["vectors"], wanted.check(source, place, titles))
    if data is not None and data.test is not None:
        engines: dict[str, Engine] = {"exported": engine}
        if not wanted.exact:
            engines["fp32"] = source.engine
        checked["metrics"] = {name: metrics_of(each, data, name) for name, each in engines.items()}
    return checked


def _check_place(output: Path, overwrite: bool) -> None:
    if is_new_or_empty(output) or (overwrite and is_export(output)):
        return
    held = "something that is not an export. Choose"
    if is_export(output):
        held = "an export. Replace it with --overwrite, or choose"
    raise FileExistsError(
        f"--output={output} expects a folder that is new or empty, and it holds {held} another one."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet():
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _share_files(folder: Path) -> None:
    """Give all files default permissions: safetensors lets only the owner read."""
    usual = (folder / CARD).stat().st_mode
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(usual)


def _push(folder: Path, repository: str) -> str:
    """Upload an export to ``ORG/NAME``; the repository's address, or ``ValueError`` if refused.

    A new repository is private. The token is the user's own, from ``hf auth login``.
    """
    api = library("huggingface_hub", "--push-to").HfApi()
    try:
        made = api.create_repo(repo_id=repository, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            commit_message="Export of recbole_tinynews",
        )
    except Exception as problem:  # the hub's or its HTTP client's
        raise ValueError(
            f"--push-to={repository} expects a repository that you may write to, and the hub "
            f"answered: {str(problem)[:300]} The export stays in {folder}. Log in with "
            "`hf auth login`, or upload it with `hf upload`."
        ) from problem
    return str(made)

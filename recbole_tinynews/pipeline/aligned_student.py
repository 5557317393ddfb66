"""``recbole-tinynews student``: a small recommender from a language model and articles alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path

from recbole_tinynews.cli import command_parser, one_line_errors, slow_imports
from recbole_tinynews.convert.atomic import NewsItem, write_without_clicks
from recbole_tinynews.files.columns import ABSTRACT, BODY, ID_COLUMNS, TITLE
from recbole_tinynews.files.whole import (
    LockHeldError,
    check_new_or_empty,
    exclusive_lock,
    leftovers,
    partial_place,
    remove,
)


def student(
    plm: str, texts: str | Path, output: str | Path, layers: int = 0, settings: Sequence[str] = ()
) -> Path:
    """Align a small student with a language model on articles, without clicks.

    ``texts`` is a table as for ``read_news_file``; ``layers`` are the student's, 0 for token
    vectors alone; ``settings`` are others of ``ZeroShotStudent``, as ``--key=value``. ``output``, a
    new or empty folder (``FileExistsError``), is one for ``load``, ``serve``, exports and updates.
    What a killed process left of it is removed. Raises ``ValueError`` for wrong settings or no
    titles, and ``LockHeldError`` if another process is making it.
    """
    with slow_imports():
        from recbole_tinynews.pipeline.config import NewsConfig
        from recbole_tinynews.pipeline.quick_start import NO_TEST, prepared

    texts, output = Path(texts), Path(output)
    check_new_or_empty(output)
    with exclusive_lock(output, "making it", wait=False), partial_place(output) as work:
        for left in leftovers(output):
            remove(left)
        work.mkdir()
        name = write_texts(texts, work / "dataset")
        given = {
            "plm": plm,
            "num_hidden_layers": layers,
            "precision": "auto",  # the teacher's vectors take most of the time
            "data_path": f"{work}/dataset",
            "checkpoint_dir": f"{work}/saved",
            **NO_TEST,
        }
        config = NewsConfig("ZeroShotStudent", name, config_dict=given, command_line=settings)
        with prepared(config) as (run, stages):
            if config["epochs"] == 0:
                getLogger().warning("epochs=0: the student is a part of the model, untrained.")
            os.replace(run.make(*stages).folder, output)
    return output


def write_texts(texts: Path, data_path: Path) -> str:
    """Write a table's articles with titles as a data set without clicks, and return its name.

    They have the table's ids, if it has any. Raises ``ValueError`` if there are no titles, or if an
    id is not usable.
    """
    from recbole_tinynews.data.atomic_files import read_news_file

    table = read_news_file(texts).fillna("").astype(str)
    if TITLE not in table.columns or not table[TITLE].str.strip().any():
        raise ValueError(
            f"{texts} expects a column {TITLE} with the articles' titles, got "
            f"{', '.join(table.columns) or 'no columns'}. Rename the column, or fill it."
        )
    table = table[table[TITLE].str.strip() != ""]
    numbers = [f"N{number}" for number in range(len(table))]
    ids = next((table[name].tolist() for name in ID_COLUMNS if name in table), numbers)
    more = table.get(ABSTRACT, table.get(BODY, [""] * len(table)))
    every = zip(ids, table[TITLE], more, strict=True)
    name = f"texts-{texts.name.partition('.')[0]}"  # one without a yaml of settings
    write_without_clicks(data_path / name, [NewsItem(i, title=t, abstract=a) for i, t, a in every])
    return name


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with status 1 if nothing was written."""
    parser = command_parser(
        prog="recbole-tinynews student",
        description="Make a small recommender from a language model and articles, without clicks.",
        epilog="Further settings of ZeroShotStudent: --key=value, e.g. --epochs=2.",
    )
    add = parser.add_argument
    add("--plm", required=True, help="hub name, folder or package:NAME of a language model")
    add(
        "--texts", required=True, metavar="FILE", help="title[, abstract]: csv, tsv, parquet, .item"
    )
    add("--output", required=True, metavar="DIR", help="a new or empty folder")
    add("--layers", type=int, default=0, help="of the student; 0: token vectors alone (default: 0)")
    flags, settings = parser.parse_known_args(arguments)
    with one_line_errors(parser.prog, mistakes=(LockHeldError,)):
        place = student(flags.plm, flags.texts, flags.output, flags.layers, settings)
    print(f"{place} is finished. Try it: recbole-tinynews serve {place} --news={flags.texts}")

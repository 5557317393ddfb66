"""Data that were reduced to nothing stop a run or are told of: it would train without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import DATASET, Tiny

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.pipeline.plan import check_data
from recbole_tinynews.pipeline.systems import system

TITLE = 3  # column of the .item file
USER, HISTORY, CANDIDATES = 1, 3, 4  # of an .inter file
Change = Callable[[str], str]


class Copied:
    """A copy of the tiny data set, to be damaged."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        self.tiny, self.folder = tiny, folder / "data"
        shutil.copytree(tiny.data, self.folder)

    def file(self, suffix: str) -> Path:
        return self.folder / DATASET / f"{DATASET}.{suffix}"

    def change(self, suffix: str, column: int, change: Change) -> None:
        head, *rows = self.file(suffix).read_text().splitlines()
        changed = [row.split("\t") for row in rows]
        for row in changed:
            row[column] = change(row[column])
        self.file(suffix).write_text("\n".join([head, *map("\t".join, changed)]) + "\n")

    def read(self, model: str = "PLMNR") -> NewsDataset:
        return NewsDataset(self.tiny.config(model, data_path=str(self.folder)))


@pytest.fixture
def copied(tiny: Tiny, tmp_path: Path) -> Copied:
    return Copied(tiny, tmp_path)


def test_a_whole_data_set_is_read_without_a_warning(copied: Copied, caplog) -> None:
    """Tests this file: a warning for everybody says nothing."""
    copied.read()
    assert caplog.text == ""


def test_an_item_file_of_a_header_alone_stops(copied: Copied) -> None:
    """Every article had an empty text, and every score was equal."""
    file = copied.file("item")
    file.write_text(file.read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match=r"tiny\.item expects articles, got only a header"):
        copied.read()


def test_candidates_of_another_data_set_stop(copied: Copied) -> None:
    """None of them has a text: the model learns nothing, and MRR looks as usual."""
    copied.change("train.inter", CANDIDATES, lambda ids: ids.replace("N", "M"))
    with pytest.raises(ValueError, match="it has none of the 176"):
        copied.read()


def test_many_unknown_candidates_are_told(copied: Copied, caplog) -> None:
    """A cut .item file."""
    rows = copied.file("item").read_text().splitlines()
    copied.file("item").write_text("\n".join(rows[:21]) + "\n")
    copied.read()
    assert "% of the candidates are not in the .item file" in caplog.text


def test_swapped_columns_are_told(copied: Copied, caplog) -> None:
    """Titles were abstracts cut at max_title_length."""
    head, *rows = copied.file("item").read_text().splitlines()
    head = head.replace("title:", "x:").replace("abstract:", "title:").replace("x:", "abstract:")
    copied.file("item").write_text("\n".join([head, *rows]) + "\n")
    copied.read()
    assert "Are the two columns swapped?" in caplog.text


@pytest.mark.parametrize("column", [USER, HISTORY, CANDIDATES])
def test_the_id_of_padding_is_refused_with_its_place(copied: Copied, column: int) -> None:
    """It became an empty slot without a word: a click, a candidate or a user was lost."""
    copied.change("train.inter", column, lambda ids: ids.replace(ids.split(" ")[0], "[PAD]", 1))
    with pytest.raises(ValueError, match=r"train\.inter, line \d+, column .*no id \[PAD\]"):
        copied.read()


@pytest.mark.parametrize("news_text", ["title", "title_abstract"])
def test_a_model_of_texts_needs_a_text(copied: Copied, caplog, news_text: str) -> None:
    """With every title empty all articles are equal; their abstracts may still be read."""
    copied.change("item", TITLE, lambda title: "")
    factory = copied.tiny.run("PLMNR", data_path=str(copied.folder), news_text=news_text).factory
    assert "all 40 titles are empty" in caplog.text
    if news_text == "title":
        with pytest.raises(ValueError, match="expects articles with words"):
            check_data(factory, [system(factory.config)])
    else:
        check_data(factory, [system(factory.config)])

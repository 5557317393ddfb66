"""The table of docs/data.md, converted by the command below it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from documents import ROOT, commands

from recbole_tinynews.convert.__main__ import main

PAGE = ROOT / "docs" / "data.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="docs/ lies in a checkout only")


def test_the_ten_lines_of_a_readers_own_become_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a reader copies to see whether the format fits."""
    monkeypatch.chdir(tmp_path)
    [table] = re.findall(r"^```csv\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    Path("clicks.csv").write_text(table, encoding="utf-8")
    [command] = [each for each in commands(PAGE) if "--train=clicks.csv" in each.text]
    assert main(command.words[3:]) == 0
    report = json.loads(Path("dataset/clicks/clicks.report.json").read_text())
    parts = report["impressions"]
    assert {name: part["impressions"] for name, part in parts.items()} == {"train": 6, "valid": 4}
    assert report["items"] == report["news"]["distinct"] == 4
    assert report["sampled_candidates"]["impressions"] == 10

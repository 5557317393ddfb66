from __future__ import annotations

import time

import pytest

from recbole_tinynews.files import progress as bars
from recbole_tinynews.files.progress import progress_bar


def test_only_long_work_prints_lines_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Encoding 22,052 titles printed nothing for minutes, and looked as if it hung."""
    assert list(progress_bar(range(5), desc="Short")) == [*range(5)]
    monkeypatch.setattr(bars, "SECONDS", 0.05)
    with progress_bar(desc="Encode news", total=8, unit=" tokens") as bar:
        for _ in range(8):
            time.sleep(0.02)
            bar.update()
            bar.set_postfix_str("loss 0.1", refresh=False)
    for _ in progress_bar(range(5), desc="Hidden", shown=False):
        time.sleep(0.02)
    *lines, end = capsys.readouterr().err.split("\n")
    assert end == ""
    assert 2 <= len(lines) < 8
    assert all(line.startswith("Encode news: ") and "\r" not in line for line in lines)
    assert "8/8" in lines[-1]

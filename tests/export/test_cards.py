"""The code on model cards ranks where this package is not installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from exports import (
    HF_KINDS,
    SENTENCE_KINDS,
    UNSEEN,
    Make,
    assert_scores_equal,
    needs_onnx,
    needs_sentence_transformers,
)
from tiny import titles

from recbole_tinynews.serving.loading import load

CANDIDATES = [*titles()[1:6], *UNSEEN]
READERS = [[], titles()[4:7], titles()[1:30]]  # the last has more clicks than are looked at
RUN = """
import json, sys
sys.modules["recbole_tinynews"] = None  # its import fails
for code in json.load(sys.stdin):
    names = {}
    exec(code, names)
    print(json.dumps([names["scores"][text] for text in names["CANDIDATES"]]))
"""


def lines_of(folder: Path, clicks: list[str]) -> str:
    """The code on the card of an export, with other titles."""
    card = (folder / "README.md").read_text()
    (code,) = re.findall(r"Without this package:\n\n```python\n(.*?)```", card, flags=re.DOTALL)
    given = {"FOLDER": str(folder), "CLICKS": clicks, "CANDIDATES": CANDIDATES}
    for name, value in given.items():
        code, found = re.subn(
            f"^{name} = .*$", lambda _, v=f"{name} = {value!r}": v, code, flags=re.M
        )
        assert found == 1
    return code


@pytest.mark.long
@pytest.mark.whole
@needs_onnx
@needs_sentence_transformers
def test_the_lines_on_a_card_rank_as_the_recommender_where_it_is_not_installed(
    finished_folder: Make, exported: Make, recommender: Path, graphs: Path
) -> None:
    """The formula on the card would be another one than what was evaluated."""
    kinds = {"hf": HF_KINDS, "sentence-transformers": SENTENCE_KINDS}
    of_torch = [
        (finished_folder(**settings), exported(to, **settings))
        for to in kinds
        for settings in kinds[to].values()
    ]
    pairs = [*of_torch, (recommender, graphs)]
    code = [lines_of(export, clicks) for _, export in pairs for clicks in READERS]
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(code), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    got = iter(done.stdout.splitlines())
    for folder, _ in pairs:
        ranked = load(folder).rank(READERS, [CANDIDATES] * len(READERS))
        for each in ranked:
            expected = [one.score for one in sorted(each, key=lambda one: one.place)]
            assert_scores_equal(json.loads(next(got)), expected)

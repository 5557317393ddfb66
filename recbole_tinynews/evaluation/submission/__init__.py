"""Submissions to the MIND leaderboard: a zip that holds ``prediction.txt`` and nothing else.

One line per impression, in the order and with the ids of ``behaviors.tsv``:
``<impression id> [r1,r2,...]``, where r is the rank of a candidate, 1 = best, at the place where
the candidate was shown. The list has no spaces, and its ranks are a permutation of 1..candidates.
"""

from __future__ import annotations

PREDICTION = "prediction.txt"


class SubmissionError(ValueError):
    """A submission can't be written, or the leaderboard would not accept it."""

"""Submissions to a leaderboard: a zip with a single text file.

Each line is ``<impression id> [r1,r2,...]``, without spaces between ranks; impressions and
candidates are in the order of the test set's behaviors, and ranks are a permutation of
1..candidates, 1 = best.
"""

from __future__ import annotations

MIND, EBNERD = "mind", "ebnerd"
MEMBERS = {MIND: "prediction.txt", EBNERD: "predictions.txt"}  # by leaderboard


class SubmissionError(ValueError):
    """A submission can't be written, or a leaderboard would reject it."""

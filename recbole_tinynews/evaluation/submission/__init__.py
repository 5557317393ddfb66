"""Submissions to a leaderboard: a zip that holds one text file and nothing else.

One line per impression, in the order and with the ids of the behaviors of the test set:
``<impression id> [r1,r2,...]``, where r is the rank of a candidate, 1 = best, at the place where
the candidate was shown. The list has no spaces, and its ranks are a permutation of 1..candidates.
"""

from __future__ import annotations

MIND, EBNERD = "mind", "ebnerd"
MEMBERS = {MIND: "prediction.txt", EBNERD: "predictions.txt"}  # by leaderboard


class SubmissionError(ValueError):
    """A submission can't be written, or the leaderboard would not accept it."""

"""Submissions to a leaderboard: a zip with a single text file.

One line per impression, in the order and with the ids of the test set's behaviors:
``<impression id> [r1,r2,...]``, the rank of each candidate in the order of the behaviors, 1 = best,
a permutation of 1..candidates without spaces.
"""

from __future__ import annotations

MIND, EBNERD = "mind", "ebnerd"
MEMBERS = {MIND: "prediction.txt", EBNERD: "predictions.txt"}  # by leaderboard


class SubmissionError(ValueError):
    """A submission can't be written, or the leaderboard would not accept it."""

"""Names of the fields of a batch.

User, time (int64 UTC seconds) and label have RecBole's settings ``USER_ID_FIELD``, ``TIME_FIELD``
and ``LABEL_FIELD``.
"""

from __future__ import annotations

# news ids, named after the columns that they come from
from recbole_tinynews.files.columns import CANDIDATES, HISTORY

__all__ = [
    "CANDIDATES",
    "CANDIDATE_FEATURES",
    "HISTORY",
    "IMPRESSION",
    "IMPRESSION_SIZE",
    "LENGTHS",
    "PLACES",
    "TEACHERS",
    "TOKENS",
    "TRUTH",
]

# one row of numbers for each candidate, where the impressions have features
CANDIDATE_FEATURES = "candidate_features"

# of an evaluation: the row of each impression in its split, and how many candidates it has
IMPRESSION, IMPRESSION_SIZE = "impression", "impression_size"

# of masked texts: all tokens, number in each text, places of the hidden ones, the hidden ones
TOKENS, LENGTHS, PLACES, TRUTH = "tokens", "lengths", "places", "truth"

# of a student's training batch: the `Outputs` of each of its teachers
TEACHERS = "teachers"

"""Names of the fields of a batch. That of the label is a setting, RecBole's ``LABEL_FIELD``."""

from __future__ import annotations

# news ids, named after the columns that they come from
from recbole_tinynews.files.columns import CANDIDATES, HISTORY

__all__ = [
    "CANDIDATES",
    "HISTORY",
    "IMPRESSION",
    "IMPRESSION_SIZE",
    "LENGTHS",
    "PLACES",
    "TEACHERS",
    "TOKENS",
    "TRUTH",
]

# of an evaluation: the row of each impression in its split, and how many candidates it has
IMPRESSION, IMPRESSION_SIZE = "impression", "impression_size"

# of masked texts: all tokens, number in each text, places of the hidden ones, the hidden ones
TOKENS, LENGTHS, PLACES, TRUTH = "tokens", "lengths", "places", "truth"

# of a student's training batch: the `Outputs` of each of its teachers
TEACHERS = "teachers"

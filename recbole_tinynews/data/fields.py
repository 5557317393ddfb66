"""Field names of a batch; RecBole's settings name user, time (int64 UTC seconds) and label."""

from __future__ import annotations

from recbole_tinynews.files.columns import CANDIDATES as CANDIDATES
from recbole_tinynews.files.columns import CONTEXT_ARTICLE as CONTEXT_ARTICLE
from recbole_tinynews.files.columns import HISTORY as HISTORY

CANDIDATE_FEATURES = "candidate_features"  # of each candidate, if any
# in evaluation: row of each impression in its split, and number of its candidates
IMPRESSION, IMPRESSION_SIZE = "impression", "impression_size"
# masked texts: tokens, lengths of the texts, positions of the hidden tokens, hidden tokens
TOKENS, LENGTHS, PLACES, TRUTH = "tokens", "lengths", "places", "truth"
TEACHERS = "teachers"  # `Outputs` of each teacher, in a student's training

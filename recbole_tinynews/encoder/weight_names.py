"""Names of the parts of a recommender's news encoder, which are prefixes of weights' names.

A weight of a part is named ``<part>.<name in it>``, in the model itself and in a file of weights.
"""

from __future__ import annotations

NEWS_ENCODER = "news_encoder"
LANGUAGE_MODEL = f"{NEWS_ENCODER}.text_encoder.plm"
POOLING = f"{NEWS_ENCODER}.text_encoder.pooling"
DENSE = f"{NEWS_ENCODER}.text_encoder.dense"

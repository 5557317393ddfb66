"""Prefixes of the weights' names in a recommender's news encoder, in memory and in files."""

from __future__ import annotations

NEWS_ENCODER = "news_encoder"
LANGUAGE_MODEL = f"{NEWS_ENCODER}.text_encoder.plm"
POOLING = f"{NEWS_ENCODER}.text_encoder.pooling"
DENSE = f"{NEWS_ENCODER}.text_encoder.dense"

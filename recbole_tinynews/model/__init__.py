"""News recommenders and the encoders they are composed of."""

from __future__ import annotations

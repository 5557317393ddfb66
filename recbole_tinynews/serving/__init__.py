"""A finished recommender in use: load it, rank with it."""

from __future__ import annotations

"""RecBole's own models on impressions: their inputs, and patches."""

from __future__ import annotations

"""RecBole's own models on impressions: inputs, settings and patches."""

from __future__ import annotations

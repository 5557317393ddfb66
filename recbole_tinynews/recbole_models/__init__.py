"""RecBole's own models on impressions: what each reads, and what is patched."""

from __future__ import annotations

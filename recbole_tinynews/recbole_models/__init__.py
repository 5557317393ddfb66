"""RecBole's own models on impressions: what each is fed, and what is patched."""

from __future__ import annotations

"""RecBole's own models on impressions: what each is fed, and what is mended for it."""

from __future__ import annotations

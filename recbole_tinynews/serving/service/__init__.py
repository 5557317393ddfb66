"""HTTP service for finished recommenders, with a page to explore them (extra ``serve``)."""

from __future__ import annotations

MAX_BODY = 4 * 1024 * 1024  # bytes of a request body, by default

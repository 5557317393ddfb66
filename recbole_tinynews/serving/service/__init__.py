"""Finished recommenders over HTTP, and a page to look at them. Needs the extra ``serve``."""

from __future__ import annotations

MAX_BODY = 4 * 1024 * 1024  # bytes of a request, unless the command says otherwise

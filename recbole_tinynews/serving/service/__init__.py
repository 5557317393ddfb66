"""Finished recommenders over HTTP, and a page to look at them. Needs the extra ``serve``."""

from __future__ import annotations

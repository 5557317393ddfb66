"""The version of the package; imports nothing, so that ``setup.py`` can run it."""

from __future__ import annotations

VERSION = "0.1.0"

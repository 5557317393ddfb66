"""Settings: how they are written, which ones exist, and which values are valid."""

from __future__ import annotations

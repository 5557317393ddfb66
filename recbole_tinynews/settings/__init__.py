"""Settings: their syntax, declarations, layers and valid values."""

from __future__ import annotations

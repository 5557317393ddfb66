"""Files as such: whole or not at all, locks, lines, cached arrays, safetensors."""

from __future__ import annotations

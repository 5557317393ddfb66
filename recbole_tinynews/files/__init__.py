"""Basic file access: atomic writes, locks, lines, cached arrays, safetensors."""

from __future__ import annotations

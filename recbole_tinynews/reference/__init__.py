"""Lists and explanations of models and settings, without importing torch."""

from __future__ import annotations

"""Help pages on models and settings, without importing torch."""

from __future__ import annotations

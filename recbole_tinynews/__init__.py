"""Language-model news recommendation for RecBole."""

from __future__ import annotations

__version__ = "0.1.0"

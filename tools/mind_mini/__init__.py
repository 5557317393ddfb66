"""A generator of synthetic, MIND-shaped data with known click probabilities."""

from __future__ import annotations

from tools.mind_mini.generate import Settings, generate

__all__ = ["Settings", "generate"]

"""A generator of synthetic, MIND-shaped data with known click probabilities."""

from __future__ import annotations

from recbole_tinynews.convert.synthetic.generate import Settings, generate

__all__ = ["Settings", "generate"]

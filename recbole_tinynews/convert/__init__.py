"""From raw MIND files to atomic files, and the generator of synthetic MIND-shaped data."""

from __future__ import annotations

from recbole_tinynews.convert.conversion import convert_mind
from recbole_tinynews.convert.errors import ConversionError

__all__ = ["ConversionError", "convert_mind"]

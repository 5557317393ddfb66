"""What a part of the measurement found."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """Figures by name, and a line for each failure; there should be none."""

    figures: dict[str, int | float]
    failures: list[str]

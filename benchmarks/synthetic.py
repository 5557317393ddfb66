"""The generator of synthetic data in MIND's shape: a tool of the checkout, not of the package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.mind_mini import Settings, generate

__all__ = ["Settings", "generate"]

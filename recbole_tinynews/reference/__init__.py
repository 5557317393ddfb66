"""What there is to choose from: models and settings with their meanings, read without imports."""

from __future__ import annotations

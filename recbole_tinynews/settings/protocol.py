"""Interface of settings for models, trainers and data sets."""

from __future__ import annotations

from typing import Any, Protocol


class Settings(Protocol):
    """Settings by name, as one stage of a run sees them."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a setting; None if it has none."""

    def for_stage(self, stage: str) -> Settings:
        """The settings of another stage of the same run, such as a student's teachers."""

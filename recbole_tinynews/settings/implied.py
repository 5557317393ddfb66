"""Settings of news recommenders that follow from others unless given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def set_implied(final: dict[str, Any], given: Mapping[str, Any], pretrains_itself: bool) -> None:
    """Set ``precision`` and ``teacher_num_hidden_layers`` in ``final`` unless the user gave them.

    ``pretrains_itself``: an earlier stage pretrains the model, with its number of layers.
    """
    if final["enable_amp"] and "precision" not in given and final.get("precision") is None:
        final["precision"] = "auto"  # RecBole's switch turns on mixed precision
    if pretrains_itself and final["teacher_num_hidden_layers"] is None:
        final["teacher_num_hidden_layers"] = final["num_hidden_layers"]

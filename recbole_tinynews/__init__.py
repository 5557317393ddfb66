"""Language-model news recommendation for RecBole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_tinynews.serving.ranking import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``load``, imported when it is asked for: torch and transformers take seconds."""
    if name == "load":
        from recbole_tinynews.serving.ranking import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

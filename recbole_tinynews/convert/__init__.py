"""Convert raw news data into atomic files; the package itself is callable, as ``convert_news``."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from recbole_tinynews.convert.conversion import convert_news
from recbole_tinynews.convert.errors import ConversionError

__all__ = ["ConversionError", "convert_news"]


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        return convert_news(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallablePackage

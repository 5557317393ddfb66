"""A small valid set of MIND's rows; each test corrupts one place of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

NEWS = (
    "N1\tsports\tgolf\tA title\tAn abstract\thttp://a\t[]\t[]",
    'N2\tnews\t\t"Quoted" from the start\t\thttp://b\t[]\t[]',
    "N3\tnull\tNA\tNA\tnan\t\t[]\t[]",
)
IMPRESSIONS = (
    "1\tU1\t11/14/2019 11:59:59 PM\tN1 N2\tN3-0 N2-1 N1-0",
    "2\tU2\t11/15/2019 12:05:00 AM\t\tN1-1",
    "3\tU1\t11/15/2019 12:05:00 PM\tN1\tN2-0 N2-0",
)

WriteMind = Callable[..., Path]

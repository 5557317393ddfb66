"""Suggests known names for an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """A suggestion of the nearest names, with a leading space, or an empty string.

    >>> suggest("plmnr", ["PLMNR", "TinyBERT"]), suggest("zzz", ["PLMNR"])
    (' Did you mean PLMNR?', '')
    """
    by_lower = {each.lower(): each for each in known}
    nearest = [name.lower()]
    if nearest[0] not in by_lower:
        nearest = difflib.get_close_matches(nearest[0], by_lower, n=2)
    return f" Did you mean {' or '.join(by_lower[each] for each in nearest)}?" if nearest else ""

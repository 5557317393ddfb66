"""RecBole's lists of setting names, parsed from source: importing them would load torch."""

from __future__ import annotations

import ast
from functools import cache

from recbole_tinynews.paths import recbole_folder


@cache
def recbole_lists() -> dict[str, tuple[str, ...]]:
    """Names in each list of ``recbole.utils.argument_list``."""
    file = recbole_folder() / "utils" / "argument_list.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    lists = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {ast.unparse(each.targets[0]): tuple(ast.literal_eval(each.value)) for each in lists}

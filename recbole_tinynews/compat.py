"""The names that RecBole 1.2.1 still expects from libraries that have dropped them."""

from __future__ import annotations

import numpy as np

# What RecBole's own code reads from numpy; numpy 1.24 dropped all four, numpy 2 gave back two.
_NUMPY_NAMES = {"bool": np.bool_, "float": np.float64, "long": np.int_, "str": np.str_}


def apply() -> None:
    """Add the missing names that RecBole needs; existing ones are left alone."""
    for name, scalar in _NUMPY_NAMES.items():
        if name not in vars(np):  # hasattr would ask numpy, which warns about these names
            setattr(np, name, scalar)

"""Patches of RecBole 1.2.1 for bugs, and for newer versions of numpy, scipy, torch and pandas.

| problem | patched in |
| --- | --- |
| numpy >= 1.24 lacks `np.float` and other names | here |
| torch sends generators to loader processes in shared memory, scarce in containers | here |
| scipy >= 1.13 has no `dok_matrix._update`: LightGCN, NGCF, GCMC, SpectralCF don't build | here |
| Pop counts an article once per batch, however often it was clicked in it | here |
| importing any sequential model makes autograd trace every operation (SINE's module) | `registry` |
| torch >= 2.6: the best model is a pickle that `torch.load` refuses | `trainer` |
| an empty history has length 0, and the last of its items the index -1 | `interactions` |
| pandas 3: the padding row of a `token` feature becomes id -9223372036854775808 | `NewsDataset` |

scipy has several versions, and is patched only where it lacks the method.
"""

from __future__ import annotations

import os
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from scipy.sparse import dok_matrix
from torch import Tensor

# numpy names that RecBole uses; numpy 1.24 removed all four, numpy 2 restored two
_NUMPY_NAMES = {"bool": np.bool_, "float": np.float64, "long": np.int_, "str": np.str_}


def apply_to_libraries() -> None:
    """Add numpy names that RecBole needs; pickle generators by value, not in shared memory."""
    for name, scalar in _NUMPY_NAMES.items():
        if name not in vars(np):  # with hasattr, numpy would warn about these names
            setattr(np, name, scalar)
    ForkingPickler.register(torch.Generator, _sent)


def apply_to_models() -> None:
    """Patch RecBole's models; idempotent."""
    from recbole.model.general_recommender import Pop  # imports all models of its kind

    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = _update
    Pop.calculate_loss = _count_every_click


def allow_recbole_entry_points() -> None:
    """Make ``recbole.quick_start``, ``HyperTuning`` and the case study run on current libraries.

    For RecBole's own scripts, which need the extra ``recbole``; ours need neither. From here on
    ``torch.load`` unpickles, as RecBole's checkpoints require: load only files that you trust.
    """
    apply_to_libraries()
    apply_to_models()
    Config.compatibility_settings = lambda self: None  # names that numpy 2 does not have
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"


def _sent(generator: torch.Generator) -> tuple[Any, ...]:
    state = generator.get_state().numpy().tobytes()
    return _received, (str(generator.device), state)


def _received(device: str, state: bytes) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator


def _update(self: Any, entries: dict[tuple[int, int], float]) -> None:
    """Set many entries unchecked, as scipy < 1.13 did."""
    self._dict.update(entries)


def _count_every_click(self: Any, interaction: Any) -> Tensor:
    """Count every click, where RecBole counts distinct items per batch; the loss is 0."""
    clicks = torch.bincount(interaction[self.ITEM_ID], minlength=self.n_items)
    self.item_cnt += clicks.unsqueeze(-1)
    self.max_cnt = self.item_cnt.max(dim=0)[0]
    return torch.zeros(1, device=self.device, requires_grad=True)

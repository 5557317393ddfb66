"""An export as what ``Ranker`` stands on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.export.description import FILE
from recbole_tinynews.serving.export.loading import load_export


class ExportedEngine(Engine):
    """An export that ranks; it computes on the CPU.

    Args:
        folder: of the export.

    Raises:
        ValueError: it is damaged, or of a format that this version does not know.
        ModuleNotFoundError: it needs a library that is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.export = load_export(folder)
        # the description has the checksums of all other files
        super().__init__(self.export.settings, content_key([folder / FILE]))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, ``[texts, dim]``, float32."""
        return torch.from_numpy(self.export.encode(texts))

    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """Vectors of users from those of their clicks, ``[users, dim]``."""
        clicked = histories != 0
        return torch.from_numpy(
            self.export.user_vectors(vectors[histories].numpy(), clicked.numpy())
        )

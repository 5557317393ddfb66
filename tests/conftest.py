from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: no test downloads anything

import pytest
import torch
from tiny import Tiny, write_bert, write_dataset, write_roberta

torch.set_num_threads(1)  # the tensors of a unit test are too small to be shared out


@pytest.fixture(autouse=True)
def _own_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole writes logs and weights into the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """RecBole configures the root logger; at DEBUG, torch traces each backward pass, slowly."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_roberta(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="session")
def tiny(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(bert_folder, write_dataset(tmp_path_factory.mktemp("data")))

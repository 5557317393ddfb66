from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import Make, assert_scores_equal, exported_scores, needs_onnx, ranked_scores
from tiny import Tiny, run_of, write_t5
from torch import Tensor, nn

from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.export.exporting import export
from recbole_tinynews.export.formats import onnx
from recbole_tinynews.export.formats.onnx_int8 import RowScaledLinear
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.exported import USER_GRAPH, load_export, session

pytestmark = needs_onnx


def test_scores_of_the_graphs_are_those_of_rank(graphs: Path, recommender: Path) -> None:
    """A site would rank otherwise than what was evaluated, and nobody would see it."""
    got = exported_scores(load_export(graphs))
    assert_scores_equal(got, ranked_scores(recommender))


@pytest.mark.long
@pytest.mark.whole
def test_the_encoder_of_an_encoder_decoder_is_a_graph_but_no_automodel(
    tiny: Tiny, tmp_path: Path
) -> None:
    """``AutoModel`` would build the whole of it, with a decoder of random weights."""
    source = write_t5(tmp_path / "t5", layers=2)  # the second reuses the first's positions
    config = tiny.config(plm=str(source), num_hidden_layers=None, max_steps=2, news_pooling="mean")
    folder = run_of(config).make(system(config)).folder
    export(folder, "onnx", tmp_path / "out")
    got = exported_scores(load_export(tmp_path / "out"))
    assert_scores_equal(got, ranked_scores(folder))
    with pytest.raises(ValueError, match="--to=onnx"):
        export(folder, "hf", tmp_path / "hf")


@pytest.mark.whole
def test_graphs_follow_the_settings_of_the_recommender(
    finished_folder: Make, roberta_folder: Path, tmp_path: Path
) -> None:
    """Each changes a graph: heads, pooled tokens, and RoBERTa's positions."""
    folder = finished_folder(
        plm=str(roberta_folder),
        num_hidden_layers=1,
        head_init="pretrained",
        news_dim=32,
        mask_padding_in_news_pooling=False,
    )
    export(folder, "onnx", tmp_path / "out")
    got = exported_scores(load_export(tmp_path / "out"))
    assert_scores_equal(got, ranked_scores(folder))


@pytest.mark.whole
@pytest.mark.parametrize(
    ("padding", "kind"), [("masked", "self_attention"), ("learned", "attention")]
)
def test_readers_of_any_history_get_their_own_vectors_from_the_graph(
    padding: str, kind: str, tmp_path: Path
) -> None:
    """One without clicks got zeros, or an error, and learned padding counted too few slots."""
    torch.manual_seed(3)
    encoder, width = UserEncoder(16, 8, kind, padding).eval(), 6
    onnx.write_user_graph(encoder, width, tmp_path / "user.onnx")
    graph = session(tmp_path / "user.onnx")
    lengths = [0, 1, 0, 3, width, 2 * width]
    clicks = torch.randn(len(lengths), 2 * width, 16)
    clicked = torch.arange(2 * width) >= 2 * width - torch.tensor(lengths)[:, None]
    with torch.no_grad():
        expected = encoder(clicks[:, -width:], clicked[:, -width:]).numpy()

    def vectors(history: Tensor, mask: Tensor) -> np.ndarray:
        return graph.run(None, {"history": history.numpy(), "clicked": mask.numpy()})[0]

    np.testing.assert_allclose(vectors(clicks, clicked), expected, atol=1e-5)
    behind = clicked.long().argsort(dim=1, descending=True, stable=True)  # padding at the end
    moved = clicks.gather(1, behind[..., None].expand_as(clicks))
    np.testing.assert_allclose(vectors(moved, clicked.gather(1, behind)), expected, atol=1e-5)
    for row, length in enumerate(lengths):  # alone, without padding
        own = slice(2 * width - length, None)
        alone = vectors(clicks[row : row + 1, own], clicked[row : row + 1, own])
        np.testing.assert_allclose(alone, expected[row : row + 1], atol=1e-5)


def test_inputs_divided_by_the_largest_of_their_row_change_no_output() -> None:
    """It only prepares the rounding; a row of zeros must not become NaN."""
    torch.manual_seed(0)
    linear, inputs = nn.Linear(24, 10), torch.randn(2, 7, 24)
    inputs[0, 0], inputs[0, 1] = 0, inputs[0, 1] * 1e4
    torch.testing.assert_close(RowScaledLinear(linear)(inputs), linear(inputs))
    without_bias = nn.Linear(24, 10, bias=False)
    torch.testing.assert_close(RowScaledLinear(without_bias)(inputs), without_bias(inputs))


def test_int8_says_how_much_it_differs(
    graphs: Path, recommender: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors differ by design; one that ranks otherwise would differ far more."""
    user_graph = graphs / USER_GRAPH  # the same recommender's
    monkeypatch.setattr(onnx, "write_user_graph", lambda _, __, file: shutil.copy(user_graph, file))
    done = export(recommender, "onnx-int8", tmp_path / "out")
    assert done.vectors > 0
    written = json.loads((done.folder / "recommender.json").read_text())["checked"]
    assert written == {"vectors": done.vectors, "scores": done.scores}
    assert f"{done.vectors:.1e} in vectors" in (done.folder / "README.md").read_text()
    want, got = ranked_scores(recommender), exported_scores(load_export(done.folder))
    assert 0 < np.abs(want - got).max() < 0.2 * np.abs(want).max()

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
from matplotlib.colors import to_hex

from recbole_tinynews.pipeline.training_figure import COLOURS, FEW, Panel, as_svg, step_figure

LOSSES = [{"step": 5, "train_loss": 3.0, "target_loss": 1.0}, {"step": 10, "train_loss": 2.0}]
METRICS = [{"step": 10, "auc": 0.6, "ndcg@5": 0.4}]
PANELS = [Panel("training loss", LOSSES), Panel("validation metric", METRICS)]


def test_a_figure_shows_every_point_and_says_what_it_is() -> None:
    """Without names of lines and axes a reader would have to guess."""
    figure = step_figure("finetune_teacher", PANELS)
    losses, metrics = figure.axes
    assert figure.get_suptitle() == "finetune_teacher"
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", "validation metric"]
    assert metrics.get_xlabel() == "optimizer steps"
    assert losses.get_shared_x_axes().joined(losses, metrics)
    drawn = {line.get_label(): line.get_xydata().tolist() for line in losses.lines}
    assert drawn == {"train_loss": [[5, 3], [10, 2]], "target_loss": [[5, 1]]}
    for axes in figure.axes:
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        assert names == [line.get_label() for line in axes.lines]
        assert all(line.get_marker() != "None" for line in axes.lines)  # one point has no line


def test_lines_are_told_apart_without_their_colours() -> None:
    """One reader in twenty can't tell red from green, and most prints are grey."""
    row = {"step": 1.0, **{f"loss{n}": float(n) for n in range(5)}}
    (axes,) = step_figure("stage", [Panel("loss", [row])]).axes
    assert [to_hex(line.get_color()).upper() for line in axes.lines] == list(COLOURS[:5])
    assert len({(line.get_marker(), str(line._dash_pattern)) for line in axes.lines}) == 5


def test_any_number_of_losses_is_drawn() -> None:
    """With more names than colours, a line that is left out would look like a missing loss."""
    row = {"step": 1.0, **{f"loss{n}": float(n) for n in range(11)}}
    (axes,) = step_figure("stage", [Panel("loss", [row] * (FEW + 1))]).axes
    assert len(axes.lines) == 11


@pytest.mark.parametrize("kept", [0, 1])
def test_a_panel_without_points_is_left_out(kept: int) -> None:
    """A training may have no validation, or resume from a state without a curve."""
    panels = [panel if n == kept else panel._replace(rows=[]) for n, panel in enumerate(PANELS)]
    (axes,) = step_figure("stage", panels).axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == (panels[kept].label, "optimizer steps")
    assert step_figure("stage", []).axes == []


def test_the_same_curve_is_the_same_file_and_leaves_matplotlib_as_it_was() -> None:
    """A date or a random id would make every regenerated figure a change in a repository."""
    before = dict(matplotlib.rcParams)
    one, other = (as_svg(step_figure("stage", PANELS)) for _ in range(2))
    assert one == other
    assert "<dc:date>" not in one
    assert dict(matplotlib.rcParams) == before
    assert ElementTree.fromstring(one).tag == "{http://www.w3.org/2000/svg}svg"

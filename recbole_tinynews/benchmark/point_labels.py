"""Labels beside the points of a plot, so that none covers another one, or a marker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 6.0  # points
_WIDTH, _HEIGHT = 0.62 * SIZE, 0.75 * SIZE  # of a digit
_MARKER = 2.5  # half of its size
_GAP = 1.2


class Label(NamedTuple):
    """Text beside the point at ``x``, ``y`` of the data, in the colour of its series."""

    x: float
    y: float
    text: str
    colour: str


class Box(NamedTuple):
    """A rectangle, in points."""

    left: float
    bottom: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.bottom + self.height, other.bottom + other.height) - max(
            self.bottom, other.bottom
        )
        return max(0.0, wide) * max(0.0, high)


def label_points(axes: Axes, labels: Iterable[Label]) -> None:
    """Write each text beside its point; the axes must have been drawn once."""
    from matplotlib.patheffects import withStroke

    shown = [label for label in labels if label.text]
    to_points = 72 / axes.figure.dpi
    places = [
        tuple(to_points * value for value in axes.transData.transform((each.x, each.y)))
        for each in shown
    ]
    boxes = place_labels(places, [each.text for each in shown])
    for label, place, box in zip(shown, places, boxes, strict=True):
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            (box.left - place[0], box.bottom - place[1]),
            textcoords="offset points",
            fontsize=SIZE,
            color=label.colour,
            path_effects=[withStroke(linewidth=1.2, foreground="white")],  # over lines
        )
        text.set_in_layout(False)  # the places are those of the layout that there is


def place_labels(places: Sequence[tuple[float, ...]], texts: Sequence[str]) -> list[Box]:
    """A box for each text: the first place beside its point that is free, or the freest one."""
    taken = [
        Box(x - _MARKER, y - _MARKER, 2 * _MARKER, 2 * _MARKER) for x, y in places
    ]  # the markers
    found = []
    for (x, y), text in zip(places, texts, strict=True):
        choices = list(_beside(x, y, _WIDTH * len(text)))
        free = [sum(choice.overlap(each) for each in taken) for choice in choices]
        found.append(choices[free.index(min(free))])
        taken.append(found[-1])
    return found


def _beside(x: float, y: float, width: float) -> Iterator[Box]:
    """Places for a label, the nearest first: none stands on a bar through its point."""
    for step in range(3):
        right = x + _MARKER + _GAP + step * (width + _GAP)
        left = x - _MARKER - _GAP - width - step * (width + _GAP)
        for up in (0.5, 0.1, 0.9):
            bottom = y - up * _HEIGHT
            yield Box(right, bottom, width, _HEIGHT)
            yield Box(left, bottom, width, _HEIGHT)

"""Learning curve: losses and validation metrics by optimizer step."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recbole_tinynews.evaluation.impression_metric import is_count
from recbole_tinynews.trainer.losses import Losses, named_losses

POINTS = 200  # maximum per loss
CurveRow = dict[str, float]


class TrainingCurve:
    """A row of mean losses every few steps, and a row of metrics per validation."""

    def __init__(
        self,
        last_step: int,
        losses: Iterable[CurveRow] = (),
        metrics: Iterable[CurveRow] = (),
        waiting: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.interval = math.ceil(last_step / POINTS)
        self.losses, self.metrics = list(losses), list(metrics)
        self.waiting = dict(waiting or {})

    @classmethod
    def from_csv(cls, text: str, metrics: Iterable[str]) -> TrainingCurve:
        """A curve from ``as_csv``; ``metrics`` are the columns of validations."""
        of_validations = {"step", *metrics}
        curve = cls(0)
        for row in csv.DictReader(io.StringIO(text)):
            values: CurveRow = {name: float(cell) for name, cell in row.items() if cell}
            values["step"] = int(row["step"])
            validated = {name: n for name, n in values.items() if name in of_validations}
            losses = {name: n for name, n in values.items() if name not in of_validations}
            if len(validated) > 1:
                curve.metrics.append(validated)
            if losses:
                curve.losses.append({"step": values["step"], **losses})
        return curve

    def add_batch(self, losses: Losses) -> None:
        """Add the losses of a batch."""
        for name, value in named_losses(losses):
            total, batches = self.waiting.get(name, (0.0, 0))
            self.waiting[name] = (total + value, batches + 1)

    def add_step(self, step: int) -> CurveRow:
        """Add a row of losses if due; returns its losses."""
        return self.close(step) if step % self.interval == 0 else {}

    def close(self, step: int) -> CurveRow:
        """Add a row of the waiting losses' means, if any; returns them."""
        means = {_column(name): total / n for name, (total, n) in self.waiting.items()}
        if means:
            self.losses.append({"step": step, **means})
        self.waiting = {}
        return means

    def add_validation(self, step: int, result: Mapping[str, Any]) -> CurveRow:
        """Add a row of validation metrics, without the counts; returns the metrics."""
        metrics = {name: float(value) for name, value in result.items() if not is_count(name)}
        self.metrics.append({"step": step, **metrics})
        return metrics

    def as_dict(self) -> dict[str, Any]:
        """Plain values; ``TrainingCurve(last_step, **values)`` restores the curve."""
        return {"losses": self.losses, "metrics": self.metrics, "waiting": self.waiting}

    def as_csv(self) -> str:
        """One line per step, one column per name, empty where nothing was measured."""
        rows: dict[float, CurveRow] = {}
        for row in (*self.losses, *self.metrics):
            rows.setdefault(row["step"], {}).update(row)
        columns = dict.fromkeys(name for row in (*self.losses, *self.metrics) for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns) or ["step"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[step] for step in sorted(rows))
        return text.getvalue()


def loss_columns(losses: Losses) -> CurveRow:
    """Losses by column name: their sum, and each term if there are several."""
    return {_column(name): float(value) for name, value in named_losses(losses)}


def _column(name: str) -> str:
    return name.replace(" ", "_")

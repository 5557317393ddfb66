"""Which stages of a run will be trained, which are reused, and why, before the first of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.pipeline.artifact import (
    ARTIFACT_FORMAT,
    COPIES,
    FORMAT_KEY,
    MADE_FROM,
    METRICS_FILE,
    WEIGHTS,
    Artifact,
    Weights,
    as_written,
    read_settings,
)
from recbole_tinynews.pipeline.stages import Recipe, Run, Start
from recbole_tinynews.pipeline.systems import train_system
from recbole_tinynews.pipeline.text_table import text_table
from recbole_tinynews.settings.names import POST_TRAINING, STAGES
from recbole_tinynews.trainer.training_state import STATE, saved_step

UNKNOWN = "not made yet"
MOST_DIFFERENCES = 3  # named in one line
_OF_TOKENS = {"max_title_length", "max_body_length", "plm"}
_OTHER = {
    "data": "the data differ",
    "language_model": "the language model differs",
    "code": "the code of the model differs",
    "after": "after other stages",
    "start": "another start",
}


class Step(NamedTuple):
    """What becomes of one stage: ``runs``, ``goes on`` or ``reused``, and why."""

    stage: str
    action: str
    reason: str


def plan(run: Run, model_class: type) -> list[Step]:
    """What ``train_system`` would do now; nothing is trained or written.

    Raises:
        ValueError: the system has no stage of the name that ``run`` is to end with.
    """
    planning = _PlanningRun(run)
    train_system(planning, model_class)
    names = list(dict.fromkeys(step.stage for step in planning.steps))
    if run.last_stage is not None and run.last_stage not in names:
        raise ValueError(
            f"stage expects one of the stages of {model_class.__name__} as it is set, "
            f"{', '.join(names)}, got {run.last_stage}."
        )
    return planning.steps


def plan_table(steps: Sequence[Step]) -> str:
    """The plan, a line for each stage; equal stages are numbered."""
    count, seen = Counter(step.stage for step in steps), Counter[str]()
    rows = []
    for stage, action, reason in steps:
        seen[stage] += 1
        number = f" {seen[stage]}" if count[stage] > 1 else ""
        rows.append([stage + number, action, f"({reason})"])
    return text_table(rows)


class _Unmade(Artifact):
    """A stage that will run. Its copies have a name that no copy has.

    So the fingerprints of stages that start from one are those of no finished stage.
    """

    def copies(self, count: int) -> list[Weights]:
        copy = self.folder / COPIES / UNKNOWN
        return [self.weights._replace(files=(self.folder / WEIGHTS, copy))] * count


class _PlanningRun(Run):
    """The same settings and data, with stages that are looked up instead of trained."""

    def __init__(self, run: Run) -> None:
        vars(self).update(vars(run))
        self.artifacts = []
        self.steps: list[Step] = []
        self._planned = run  # whose recipes these are

    def train_stage(
        self,
        stage: str,
        model_class: type,
        after: Sequence[Artifact] = (),
        start: Start | None = None,
        teachers: Sequence[Weights] = (),
        number: int = 0,
    ) -> Artifact:
        self.stop_behind_last(stage)
        recipe = self._planned.recipe(stage, model_class, after, start, teachers, number)
        follows = any(isinstance(artifact, _Unmade) for artifact in after)
        finished = None if self.config["fresh"] else recipe.finished()
        if finished is not None:
            self.steps.append(Step(stage, "reused", recipe.folder.name))
        else:
            self.steps.append(self._step(recipe, follows))
            finished = _Unmade(stage, model_class, recipe.fingerprint, recipe.folder, 0.0, {})
        self.artifacts.append(finished)
        return finished

    def _step(self, recipe: Recipe, follows: bool) -> Step:
        if self.config["fresh"]:
            return Step(recipe.stage, "runs", "fresh")
        step = saved_step(recipe.folder / STATE)
        if step is not None:
            return Step(recipe.stage, "goes on", f"from step {step}")
        if (recipe.folder / METRICS_FILE).is_file():
            return Step(recipe.stage, "runs", f"{recipe.folder.name} is damaged")
        reused = {step.reason for step in self.steps if step.action == "reused"}
        reasons = nearest_differences(recipe, follows, reused)
        if reasons is None:
            return Step(recipe.stage, "runs", "no earlier one")
        if follows:
            reasons.append("after a stage that runs")
        if len(reasons) > MOST_DIFFERENCES:
            more = len(reasons) - MOST_DIFFERENCES
            reasons = [*reasons[:MOST_DIFFERENCES], f"and {more} more"]
        return Step(recipe.stage, "runs", "; ".join(reasons))


def nearest_differences(
    recipe: Recipe, follows: bool = False, others: Set[str] = frozenset()
) -> list[str] | None:
    """What sets the stage apart from the finished one that is most like it; None: there is none.

    ``follows``: what it stands on will be made, and so is no difference of its own. ``others``
    names the folders of this run's other stages: one more teacher is no changed first teacher.
    """
    found = [
        (list(_differences(recipe, there, follows)), -folder.stat().st_mtime)
        for folder, there in _finished_ones(recipe)
        if folder.name not in others
    ]
    return min(found, key=lambda each: (len(each[0]), each[1]))[0] if found else None


def _finished_ones(recipe: Recipe) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in sorted(recipe.folder.parent.glob(f"{recipe.stage}-*")):
        if not (folder / METRICS_FILE).is_file():
            continue
        try:
            yield folder, read_settings(folder)
        except (OSError, ValueError):  # it serves as an example only
            continue


def _differences(recipe: Recipe, there: dict[str, Any], follows: bool) -> Iterator[str]:
    names: set[str] = set()
    for name, value, other in _other_settings(as_written(recipe.settings), there):
        names.add(name)
        yield f"{name}: {_shown(name, value)}, there: {_shown(name, other)}"
    if there.get(FORMAT_KEY) != ARTIFACT_FORMAT:
        yield "made by another version"
    implied = _implied(recipe.stage, names)
    if follows:
        implied |= {"after", "start"}
    there_from = there.get(MADE_FROM, {})
    for part, value in recipe.made_from.items():
        if part not in implied and part in there_from and there_from[part] != value:
            yield _OTHER[part]


def _other_settings(here: dict[str, Any], there: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    beside = {FORMAT_KEY, MADE_FROM}
    there = {n: v for n, v in there.items() if n not in beside and not n.startswith(STAGES)}
    same_model = here["model_class"] == there["model_class"]
    for name in {**here, **there}:
        # what another model has no use for is no difference of its own
        if here.get(name) != there.get(name) and (same_model or (name in here and name in there)):
            yield name, here.get(name), there.get(name)


def _implied(stage: str, names: Set[str]) -> set[str]:
    """What differs because a setting does that is named already."""
    implied = {"language_model"} if "plm" in names else set()
    # the data of these are token ids
    if stage in (*POST_TRAINING, "pretrain_teacher") and not names.isdisjoint(_OF_TOKENS):
        implied.add("data")
    return implied


def _shown(name: str, value: Any) -> str:
    if name == "model_class":
        return str(value).rpartition(".")[2]
    return "~" if value is None else str(value)

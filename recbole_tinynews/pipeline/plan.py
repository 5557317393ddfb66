"""Plan of a run: which stages are trained, resumed or reused, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

from recbole_tinynews.pipeline import artifact
from recbole_tinynews.pipeline.fingerprints import Recipe, Recipes
from recbole_tinynews.pipeline.log_tables import text_table
from recbole_tinynews.pipeline.stage import Copy, Stage
from recbole_tinynews.settings.table import parse_key
from recbole_tinynews.trainer.checkpoints import STATE, saved_step

REUSED = "reused"
MOST_DIFFERENCES = 3  # per line
_CHANGED = {
    "data": "the data differ",
    "language_model": "the language model differs",
    "code": "the code of the model differs",
    "after": "after other stages",
    "start": "another start",
    "teachers": "other teachers",
}


class Step(NamedTuple):
    """What a run does with a stage (``runs``, ``resumes`` or ``REUSED``), and why."""

    stage: str
    action: str
    reason: str


def plan(recipes: Recipes, stages: Sequence[Stage], fresh: bool = False) -> list[Step]:
    """One step per stage in topological order; ``ValueError`` if saved copies are too few."""
    finished = {  # one that names its folder, the recommender that an update starts from, is read
        stage: None if fresh and stage.folder is None else recipes.of(stage).finished()
        for stage in stages
    }
    for source in (source for stage in stages for source in stage.sources):
        if isinstance(source, Copy) and (made := finished[source.stage]):
            made.copy(source.back)
    reused = {recipes.of(s).folder.name for s, made in finished.items() if made}
    return [
        Step(stage.name, REUSED, recipes.of(stage).folder.name)
        if finished[stage]
        else _step(recipes.of(stage), any(finished[s] is None for s in stage.needs), reused, fresh)
        for stage in stages
    ]


def plan_table(steps: Sequence[Step]) -> str:
    """The plan, one line per stage."""
    names = numbered([step.stage for step in steps])
    pairs = zip(names, steps, strict=True)
    return text_table([[name, step.action, f"({step.reason})"] for name, step in pairs])


def numbered(names: Sequence[str]) -> list[str]:
    """Number repeated names.

    >>> numbered(["post_train_teacher", "finetune_teacher", "finetune_teacher"])
    ['post_train_teacher', 'finetune_teacher 1', 'finetune_teacher 2']
    """
    count, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name} {seen[name]}" if count[name] > 1 else name)
    return result


def _step(recipe: Recipe, follows: bool, reused: Set[str], fresh: bool) -> Step:
    name = recipe.stage.name
    if fresh:
        return Step(name, "runs", "fresh")
    if (step := saved_step(recipe.folder / STATE)) is not None:
        return Step(name, "resumes", f"from step {step}")
    if artifact.was_finished(recipe.folder):
        return Step(name, "runs", f"{recipe.folder.name} is damaged")
    reasons = nearest_differences(recipe, follows, reused)
    if reasons is None:
        return Step(name, "runs", "no earlier one")
    if follows:
        reasons.append("after a stage that runs")
    if len(reasons) > MOST_DIFFERENCES:
        more = len(reasons) - MOST_DIFFERENCES
        reasons = [*reasons[:MOST_DIFFERENCES], f"and {more} more"]
    return Step(name, "runs", "; ".join(reasons))


def nearest_differences(
    recipe: Recipe, follows: bool = False, others: Set[str] = frozenset()
) -> list[str] | None:
    """Differences from the most similar finished stage of this name; None without one.

    Earlier stages are not compared if one will be trained (``follows``); ``others`` are this run's
    folders, since another teacher is not a changed version of the first.
    """
    found = []
    for folder in sorted(recipe.folder.parent.glob(f"{recipe.stage.name}-*")):
        if folder.name in others or not artifact.was_finished(folder):
            continue
        try:
            there = artifact.read_settings(folder)
        except (OSError, ValueError):  # costs only an explanation
            continue
        found.append((list(_differences(recipe, there, follows)), -folder.stat().st_mtime))
    return min(found, key=lambda each: (len(each[0]), each[1]))[0] if found else None


def _differences(recipe: Recipe, there: dict[str, Any], follows: bool) -> Iterator[str]:
    here, stages = artifact.as_written(recipe.settings), recipe.config.stage_names
    head = (artifact.FORMAT_KEY, artifact.MADE_FROM)
    other = {n: v for n, v in there.items() if n not in head and not parse_key(n, stages).stage}
    # for different models, compare only settings that both have
    same_model = here["model_class"] == other["model_class"]
    shared = here | other if same_model else here.keys() & other
    names = [name for name in here | other if name in shared and here.get(name) != other.get(name)]
    for name in names:
        yield f"{name}: {_shown(name, here.get(name))}, there: {_shown(name, other.get(name))}"
    if there.get(artifact.FORMAT_KEY) != artifact.ARTIFACT_FORMAT:
        yield "made by another version"
    implied = _implied(recipe, {*names})
    if follows:
        implied |= {"after", "start", "teachers"}
    there_from = there.get(artifact.MADE_FROM, {})
    for part, value in recipe.made_from.items():
        if part not in implied and part in there_from and there_from[part] != value:
            yield _CHANGED[part]


def _implied(recipe: Recipe, names: Set[str]) -> set[str]:
    """Parts that differ because of a listed setting."""
    of_plm = {"plm", "vocabulary_min_articles"}
    implied = set() if names.isdisjoint(of_plm) else {"language_model"}
    if not names.isdisjoint({"num_teachers", "model_class"}):
        implied.add("teachers")
    reads = getattr(recipe.stage.model, "reads", None)  # None for RecBole's own models
    decides = {*reads.settings} if reads else set()
    # these settings change token ids, and so the data's digest
    if decides and not names.isdisjoint({*decides, *of_plm}):
        implied.add("data")
    return implied


def _shown(name: str, value: Any) -> str:
    if name == "model_class":
        return str(value).rpartition(".")[2]
    return "~" if value is None else str(value)

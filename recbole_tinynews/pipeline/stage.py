"""Stages as values: model, initial weights and teachers of a training.

A system is a function ``config -> Stage`` that returns the last stage, from which the earlier ones
can be reached. Equal values are one stage, trained once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Copy(NamedTuple):
    """One of the copies that a post-training will save, counted back from the last (0)."""

    stage: Stage
    back: int = 0


class Start(NamedTuple):
    """Sources of initial weights; ``put(model, *weights)`` gets one ``Weights`` per source.

    ``complete``: they are all weights; only the term of ``popularity`` is fitted again.
    """

    put: Callable[..., None]
    sources: tuple[Stage | Copy, ...]
    complete: bool = False


class Stage(NamedTuple):
    """One training.

    ``name`` is the prefix of its folder and settings; without ``start``, its weights are the
    language model's; ``teachers`` are finished recommenders, or copies; ``after`` are further
    stages to finish first; ``number``, added to the seed, distinguishes otherwise equal stages;
    ``folder`` is that of a recommender finished by another run, which is never trained.
    """

    name: str
    model: type[Any]
    after: tuple[Stage, ...] = ()
    start: Start | None = None
    teachers: tuple[Stage | Copy, ...] = ()
    number: int = 0
    folder: Path | None = None

    @property
    def sources(self) -> tuple[Stage | Copy, ...]:
        """Stages and copies that it starts from or learns from."""
        return (*(self.start.sources if self.start else ()), *self.teachers)

    @property
    def needs(self) -> tuple[Stage, ...]:
        """Its direct dependencies, without repeats."""
        return tuple(dict.fromkeys(map(stage_of, (*self.after, *self.sources))))


def stage_of(source: Stage | Copy) -> Stage:
    """The stage itself, or the one that saves the copy."""
    return source.stage if isinstance(source, Copy) else source


def last_copies(stage: Stage, count: int) -> tuple[Copy, ...]:
    """The last ``count`` copies of a stage, newest first."""
    return tuple(Copy(stage, back) for back in range(count))


def in_order(*last: Stage) -> list[Stage]:
    """These stages and their dependencies in topological order, without repeats."""
    return list(dict.fromkeys(s for stage in last for s in (*in_order(*stage.needs), stage)))


def lineage(last: Stage) -> list[Stage]:
    """Trainings of one model: a stage and those that it starts from, without teachers."""
    sources = last.start.sources if last.start else ()
    before = [each for source in sources for each in lineage(stage_of(source))]
    return list(dict.fromkeys([*before, last]))


def up_to(last: Stage, name: str | None) -> list[Stage]:
    """Stages of this name (``None``: all) and their dependencies; ``ValueError`` if unknown."""
    every = in_order(last)
    if name is None:
        return every
    wanted = [stage for stage in every if stage.name == name]
    if not wanted:
        raise ValueError(
            f"stage expects one of the stages of {last.name} with these settings, "
            f"{', '.join(dict.fromkeys(stage.name for stage in every))}, got {name}."
        )
    return in_order(*wanted)

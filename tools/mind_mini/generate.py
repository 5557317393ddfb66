"""Write a synthetic data set in MIND's raw format, in chunks of impressions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_tinynews.files.progress import progress_bar
from tools.mind_mini import world
from tools.mind_mini.impressions import MOVING, ClickLog, Impressions, Law
from tools.mind_mini.text import Writer, make_names
from tools.mind_mini.users import Readers
from tools.mind_mini.world import Floats, GeneratedNews, Ints, Topics, make_news, make_topics

_METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10")


class Ceiling(NamedTuple):
    """Metric sums over impressions; single-class impressions are skipped and counted."""

    sums: Floats  # one per metric
    impressions: int
    skipped: int

    def plus(self, other: Ceiling) -> Ceiling:
        """The elementwise sum."""
        counts = self.impressions + other.impressions, self.skipped + other.skipped
        return Ceiling(self.sums + other.sums, *counts)

    def report(self) -> dict[str, float]:
        """Means, by metric name."""
        if not self.impressions:
            raise ValueError(
                "The oracle expects an impression with a clicked and an unclicked candidate in "
                f"each split, but one has none among {self.skipped}. Generate more impressions."
            )
        averages = np.round(self.sums / self.impressions, 6).tolist()
        counts = {"impressions": self.impressions, "skipped": self.skipped}
        return {**dict(zip(_METRICS, averages, strict=True)), **counts}


def ceiling(scores: Floats, clicked: NDArray[np.bool_], offsets: Ints) -> Ceiling:
    """Sums of AUC, MRR and nDCG over ragged impressions, by MIND's definitions, ties included."""
    lengths = np.diff(offsets)
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-np.arange(len(row)), -scores, row))
    label, place = clicked[order].astype(float), np.arange(len(row)) - offsets[row] + 1.0

    def total(values: Floats) -> Floats:
        return np.bincount(row, values, len(lengths)).astype(float)

    def ndcg(depth: int) -> Floats:
        gain = (place <= depth) / np.log2(place + 1)
        return total(label * gain) / total((place <= clicks[row]) * gain)

    clicks = total(label)
    usable = (clicks > 0) & (clicks < lengths)
    with np.errstate(divide="ignore", invalid="ignore"):  # single-class impressions, dropped below
        # Mann-Whitney U, from the ascending ranks of the clicked.
        height = lengths[row] + 1 - _shared_places(scores[order], row, place)
        auc = (total(label * height) - clicks * (clicks + 1) / 2) / (clicks * (lengths - clicks))
        parts = auc, total(label / place) / clicks, ndcg(5), ndcg(10)
    sums = np.array([part[usable].sum() for part in parts])
    return Ceiling(sums, int(usable.sum()), int((~usable).sum()))


def _shared_places(scores: Floats, row: Ints, place: Floats) -> Floats:
    """Ranks of sorted candidates; ties share their mean rank."""
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(scores) != 0) | (np.diff(row) != 0)
    tie = np.cumsum(new) - 1
    return (np.bincount(tie, place) / np.bincount(tie))[tie]


class Settings(NamedTuple):
    """Parameters that determine the data set."""

    seed: int = 2020
    news: int = 20_000
    users: int = 10_000
    impressions: int = 30_000  # in the training split
    valid_impressions: int = 5_000
    test_impressions: int = 10_000
    corpus: int = 0  # extra articles for training a language model

    def check(self) -> None:
        """Raise ``ValueError`` that lists all values that are too small."""
        least = {"seed": 0, "news": 500, "corpus": 0}
        wrong = [
            f"{name}={value} (at least {least.get(name, 1)})"
            for name, value in self._asdict().items()
            if value < least.get(name, 1)
        ]
        if wrong:
            raise ValueError(f"The generator expects larger values than {', '.join(wrong)}.")


def generate(
    output: Path,
    settings: Settings,
    chunk: int = 4096,
    progress: bool = False,
    moving: bool = False,
    names_for: int | None = None,
) -> dict[str, Any]:
    """Write ``train/ valid/ test/ bodies.tsv oracle.json`` into ``output``; return the oracle.

    If ``moving``, the popularity of articles rises and falls within hours, and impressions and
    histories are shorter, so that clicks can be counted. Names are invented for ``names_for``
    articles (``None``: all). With ``settings.corpus``, ``corpus.tsv`` has that many further
    articles, in the format of ``bodies.tsv`` but with the headline also before each body. At most
    ``chunk`` impressions are in memory; the output does not depend on it.
    """
    settings.check()
    topics, law = make_topics(settings.seed), MOVING if moving else Law()
    news = make_news(settings.seed, settings.news, topics)
    readers = Readers(settings.seed, topics, news, law.clicks)
    log = ClickLog(settings.seed, news, readers, settings.users, law)
    sizes = {
        "train": settings.impressions,
        "valid": settings.valid_impressions,
        "test": settings.test_impressions,
    }
    seen, ceilings = {}, {}
    with progress_bar(
        desc="Impressions", shown=progress, total=sum(sizes.values()), unit=" impressions"
    ) as bar:
        for split, size in sizes.items():
            starts = range(0, size, chunk)
            runs = (log.impressions(split, start, min(start + chunk, size)) for start in starts)
            (output / split).mkdir(parents=True, exist_ok=True)
            path = output / split / "behaviors.tsv"
            seen[split], ceilings[split] = _write_behaviors(path, runs, news, bar)
    names = make_names(settings.seed, topics, names_for or settings.news)
    _write_texts(output, Writer(settings.seed, topics, names, news), topics, seen, progress)
    if settings.corpus:
        other_seed = settings.seed + 1
        other_news = make_news(other_seed, settings.corpus, topics)
        _write_corpus(output / "corpus.tsv", Writer(other_seed, topics, names, other_news))
    oracle = _oracle(settings, law, ceilings)
    text = json.dumps(oracle, indent=2) + "\n"
    (output / "oracle.json").write_text(text, encoding="utf-8", newline="\n")
    return oracle


def _oracle(settings: Settings, law: Law, ceilings: dict[str, list[Ceiling]]) -> dict[str, Any]:
    """The ceilings of ranking by true click odds, by their estimate from text, and without text."""
    from_odds, from_text, from_now = (
        {split: ceilings[split][kind].report() for split in ("valid", "test")} for kind in range(3)
    )
    now: dict[str, Any] = {}
    if law.popularity:
        now["about_now"] = "'from_now' ranks by true appeal, age and popularity at the moment."
        now["from_now"] = from_now
    return {
        "synthetic": True,
        "about": (
            "Metrics of ranking by the true click probabilities: no model can expect more. "
            "'from_text' estimates the best that titles and histories tell: the liking expected "
            "after the clicks on each theme and subtopic, and the hot words; no appeal, no age."
        ),
        **from_odds,
        "from_text": from_text,
        **now,
        "settings": settings._asdict(),
        "log_odds_weights": law.weights(),
    }


def _write_behaviors(
    path: Path, runs: Iterable[Impressions], news: GeneratedNews, bar: tqdm
) -> tuple[NDArray[np.bool_], list[Ceiling]]:
    """Write the impressions; return the mask of the articles in them, and three ceilings."""
    ids = [f"N{label}" for label in news.label.tolist()]
    shown = [id_ + suffix for id_ in ids for suffix in ("-0", "-1")]
    seen = np.zeros(len(ids), dtype=bool)
    found: list[list[Ceiling]] = []
    number = 1
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for run in runs:
            seen[run.histories.news] = True
            seen[run.candidates] = True
            for line in _behavior_lines(run, ids, shown):
                file.write(f"{number}\t{line}\n")
                number += 1
            odds = run.log_odds, run.text_log_odds, run.now_log_odds
            found.append([ceiling(each, run.clicked, run.offsets) for each in odds])
            bar.update(len(run.readers))
    return seen, [reduce(Ceiling.plus, of_kind) for of_kind in zip(*found, strict=True)]


def _behavior_lines(run: Impressions, ids: list[str], shown: list[str]) -> Iterator[str]:
    clicks = [ids[index] for index in run.histories.news.tolist()]
    bounds = run.histories.offsets.tolist()
    histories = [" ".join(clicks[a:b]) for a, b in pairwise(bounds)]
    candidates = [shown[code] for code in (2 * run.candidates + run.clicked).tolist()]
    bounds = run.offsets.tolist()
    for row, (reader, hour) in enumerate(zip(run.readers.tolist(), run.hours, strict=True)):
        shown_here = " ".join(candidates[bounds[row] : bounds[row + 1]])
        yield f"U{reader + 1}\t{_clock(hour)}\t{histories[run.history_of[row]]}\t{shown_here}"


def _clock(hour: float) -> str:
    """Format a time as in MIND: 11/13/2019 8:36:57 AM."""
    time = (world.CLOCK_START + np.timedelta64(int(hour * 3600), "s")).item()
    half = "AM" if time.hour < 12 else "PM"  # %p depends on the locale
    return f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M:%S} {half}"


def _write_texts(
    output: Path,
    writer: Writer,
    topics: Topics,
    seen: dict[str, NDArray[np.bool_]],
    progress: bool,
) -> None:
    indices = np.flatnonzero(np.logical_or.reduce(list(seen.values())))
    with ExitStack() as stack:

        def opened(path: Path) -> TextIO:
            return stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))

        bodies = opened(output / "bodies.tsv")
        files = {split: opened(output / split / "news.tsv") for split in world.SPLIT_HOURS}
        bar = stack.enter_context(
            progress_bar(desc="News", shown=progress, total=len(indices), unit=" news")
        )
        for index, article in zip(indices.tolist(), writer.articles(indices), strict=True):
            id_ = f"N{writer.news.label[index]}"
            bodies.write(f"{id_}\t{article.title}\t{article.body}\n")
            topic = topics.subtopics[writer.news.subtopic[index]]
            url = f"https://synthetic.invalid/{id_}"
            texts = article.title, article.abstract, url, "[]", "[]"
            row = "\t".join((id_, topic.category, topic.name, *texts)) + "\n"
            for split, file in files.items():
                if seen[split][index]:
                    file.write(row)
            bar.update()


def _write_corpus(path: Path, writer: Writer) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for number, article in enumerate(writer.articles(np.arange(len(writer.news.label))), 1):
            file.write(f"C{number}\t{article.title}\t{article.title}. {article.body}\n")

"""Synthetic headlines, and bodies that paraphrase them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from tools.mind_mini import lexicon
from tools.mind_mini.lexicon import Concept, Subtopic, Theme
from tools.mind_mini.world import GeneratedNews, Ints, Topics, uniforms

# {w}: headline word of the subtopic, {h}: of the theme, {e}: named entity of the theme; {v}: verb,
# {a}: adjective, {t}: time, {p}: place.
_OPENINGS = (
    "{e} {v} the {h} {w}",
    "{h} {w} {v} {e} and its {h}",
    "why {e} {v} its {h} {w}",
    "{h} and {w}: {e} {v} {h}",
    "the {h} {w} that {v} {e}",
    "how {e} {v} a {w} with {a} {h}",
)
_CLOSINGS = (
    "as {h} {v} {e}",
    "after a {h} near {p}",
    "and what the {h} {w} means",
    "while {e} {v} another {h}",
    "but {e} {v} the {w}",
    "before {h} {w} comes to {p}",
)
# {b}: body word of the subtopic, {m}: of the theme, {n}: another name of {e}; {c}, {d}: words of
# any concept of the subtopic, of the theme.
_SENTENCES = (
    "The {b} around {n} was all {m} and {d}, said {g}.",
    "In {p}, {g} pointed to the {m} {b} and its {d}.",
    "{n} spoke of {m} and {d} {t}, and of the {c}.",
    "A {a} {m} followed, with {d} and {b} close behind.",
    "According to {g}, {n} had seen the {d} {m} and the {c}.",
    "Some {g} asked for a {b}; {n} offered {m} and {d}.",
    "For {p}, the {b} {c} matters more than the {d} of {n}.",
    "Both {n} and {n} were tied to the {m} {d}, and {r}.",
)
_BODY_SENTENCES = (5, 8)
_CONCEPTS_OF_A_STORY, _MOTIFS_OF_A_STORY, _NAMES_OF_A_STORY = 3, 3, 2
_BORROWED = 0.1  # share of body mentions with the headline's word, and vice versa
_DRAWS = 200  # random numbers per story, more than any uses
_NAMED_NEWS = 4  # articles per named entity, on average
_PLACES = 60

Choice = TypeVar("Choice")


class Article(NamedTuple):
    """Texts of an article."""

    title: str
    abstract: str
    body: str


class Names(NamedTuple):
    """Invented names of places, and of entities by theme: one for headlines, two for bodies."""

    places: list[str]
    things: list[list[Concept]]


def make_names(seed: int, topics: Topics, news: int) -> Names:
    """Names for ``news`` articles."""
    per_theme = max(6, news // (_NAMED_NEWS * len(topics.themes)))
    names = _invented_names(seed, _PLACES + 3 * per_theme * len(topics.themes))
    places = [next(names) for _ in range(_PLACES)]
    things = [
        [Concept([next(names)], [next(names), next(names)]) for _ in range(per_theme)]
        for _ in topics.themes
    ]
    return Names(places, things)


class Writer:
    """Deterministic writer of article texts."""

    def __init__(self, seed: int, topics: Topics, names: Names, news: GeneratedNews) -> None:
        self.seed, self.topics, self.names, self.news = seed, topics, names, news

    def articles(self, indices: Ints) -> Iterator[Article]:
        """Texts of the articles, in order."""
        for part in np.array_split(indices, len(indices) // 1000 + 1):  # bounds memory
            numbers = uniforms(self.seed, "text", part[:, None], np.arange(_DRAWS))
            for index, row in zip(part.tolist(), numbers.tolist(), strict=True):
                yield self._article(index, _Picker(row))

    def _article(self, index: int, picker: _Picker) -> Article:
        topic = self.topics.subtopics[self.news.subtopic[index]]
        theme = self.topics.themes[self.news.theme[index]]
        things = self.names.things[self.news.theme[index]]
        lists = {  # drawn in this order
            "wb": picker.skewed(topic.concepts, _CONCEPTS_OF_A_STORY),
            "hm": picker.skewed(theme.concepts, _MOTIFS_OF_A_STORY),
            "en": picker.skewed(things, _NAMES_OF_A_STORY),
        }
        words = _Words(lists, topic, theme, self.names.places, picker)
        title = picker.choice(_OPENINGS) + " " + picker.choice(_CLOSINGS)
        title = words.fill(title, hot=bool(self.news.hot[index]))
        count = picker.between(*_BODY_SENTENCES)
        sentences = [words.fill(picker.choice(_SENTENCES)) for _ in range(count)]
        return Article(title, sentences[0], " ".join(sentences))


class _Picker:
    def __init__(self, numbers: list[float]) -> None:
        self.numbers = iter(numbers)

    def chance(self, probability: float) -> bool:
        return next(self.numbers) < probability

    def between(self, low: int, high: int) -> int:
        return low + int(next(self.numbers) * (high - low + 1))

    def choice(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(next(self.numbers) * len(choices))]

    def skewed(self, choices: Sequence[Choice], count: int) -> list[Choice]:
        """Distinct choices, skewed towards the first."""
        places: list[int] = []
        while len(places) < count:
            place = int(next(self.numbers) ** 1.5 * len(choices))
            while place in places:
                place = (place + 1) % len(choices)
            places.append(place)
        return [choices[place] for place in places]


class _Words:
    """Fills templates with a story's words, cycling through each of its ``lists``, by letters."""

    def __init__(
        self,
        lists: dict[str, list[Concept]],
        topic: Subtopic,
        theme: Theme,
        places: list[str],
        picker: _Picker,
    ) -> None:
        self.topic, self.theme, self.places, self.picker = topic, theme, places, picker
        self.lists = {letter: words for letters, words in lists.items() for letter in letters}
        self.turn = dict.fromkeys(self.lists, 0)

    def fill(self, template: str, hot: bool = False) -> str:
        parts = template.split("{")
        filled = [parts[0]]
        for part in parts[1:]:
            word = self._word(part[0], hot)
            hot = hot and part[0] != "a"
            filled.append(word + part[2:])
        if hot:
            filled.insert(0, self.picker.choice(lexicon.HOT_WORDS) + ": ")
        text = re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", "".join(filled))  # "an" before a vowel
        return text[0].upper() + text[1:]

    def _word(self, kind: str, hot: bool) -> str:
        picker = self.picker
        if kind in "whe":
            return self._say(kind, in_title=not picker.chance(_BORROWED))
        if kind in "bmn":
            return self._say(kind, in_title=picker.chance(_BORROWED))
        if kind in "cd":
            about = self.topic if kind == "c" else self.theme
            return picker.choice(picker.choice(about.concepts).body)
        if kind == "a" and hot:
            return picker.choice(lexicon.HOT_WORDS)
        return picker.choice(self.places if kind == "p" else lexicon.BY_LETTER[kind])

    def _say(self, kind: str, in_title: bool) -> str:
        concepts = self.lists[kind]
        concept = concepts[self.turn[kind] % len(concepts)]
        self.turn[kind] += 1
        return self.picker.choice(concept.title if in_title else concept.body)


def _invented_names(seed: int, number: int) -> Iterator[str]:
    first, last = lexicon.SYLLABLES, lexicon.LAST_SYLLABLES
    places = uniforms(seed, "names", np.arange(2 * number + 100))
    seen: set[str] = set()
    for place in (places * (len(first) * len(last))).astype(int).tolist():
        name = (first[place // len(last)] + last[place % len(last)]).capitalize()
        if name not in seen:
            seen.add(name)
            yield name
    raise ValueError(f"--news expects fewer articles: only {len(seen):,} names can be invented.")

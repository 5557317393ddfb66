"""Headlines, and bodies that tell the same story in other words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from recbole_tinynews.convert.synthetic import lexicon
from recbole_tinynews.convert.synthetic.draws import uniforms
from recbole_tinynews.convert.synthetic.lexicon import Concept
from recbole_tinynews.convert.synthetic.world import GeneratedNews, Ints, Topics

# {w} is a headline word of the story, {e} a name in it, {v} a verb, {a} an adjective, {p} a place.
_OPENINGS = (
    "{e} {v} the {a} {w}",
    "{a} {w} {v} {e} and its {w}",
    "why {e} {v} its {a} {w}",
    "{w} and {w}: {e} {v} {p}",
    "the {a} {w} that {v} {e}",
    "how {e} {v} a {w} with one {a} {w}",
)
_CLOSINGS = (
    "as {w} {v} {p}",
    "after a {w} near {p}",
    "and what the {w} means",
    "while {e} {v} another {w} {t}",
    "but {p} {v} the {w}",
    "before {w} comes to {p}",
)
# {b} is a body word of the story, {n} another name of {e}, {c} a word of the same subtopic.
_SENTENCES = (
    "The {b} around {n} was {a}, said {g}, and the {b} came with it.",
    "In {p}, {g} pointed to a {b} and to the {c}.",
    "{n} spoke about the {b} {t}, and {r}.",
    "A {a} {b} followed, with {c} and {b} close behind.",
    "According to {g}, {n} had seen the {b} and the {c} before.",
    "Some {g} asked for a {b}; {n} offered a {c} instead.",
    "For {p}, the {b} matters more than the {c}, and {r}.",
    "Both {n} and {n} were tied to the {b}.",
)
_BODY_SENTENCES = (6, 9)
_CONCEPTS_OF_A_STORY, _NAMES_OF_A_STORY = 3, 2
_BORROWED = 0.1  # share of body mentions that take the headline's word, and the reverse
_DRAWS = 200  # more than any story takes
_NAMED_NEWS = 4  # articles for each named thing, on average
_PLACES = 60

Choice = TypeVar("Choice")


class Article(NamedTuple):
    """The texts of one article."""

    title: str
    abstract: str
    body: str


class Writer:
    """Writes the texts of any generated article, always the same for the same one."""

    def __init__(self, seed: int, topics: Topics, news: GeneratedNews) -> None:
        self.seed = seed
        self.topics = topics
        self.news = news
        per_topic = max(6, len(news.label) // (_NAMED_NEWS * len(topics.subtopics)))
        names = _invented_names(seed, _PLACES + 3 * per_topic * len(topics.subtopics))
        self.places = [next(names) for _ in range(_PLACES)]
        # A name for headlines and two that bodies use for the same thing.
        self.named = [
            [Concept([next(names)], [next(names), next(names)]) for _ in range(per_topic)]
            for _ in topics.subtopics
        ]

    def articles(self, indices: Ints) -> Iterator[Article]:
        """The texts of the articles ``indices``, in this order."""
        numbers = uniforms(self.seed, "text", indices[:, None], np.arange(_DRAWS))
        for index, row in zip(indices.tolist(), numbers.tolist(), strict=True):
            yield self._article(index, _Picker(row))

    def _article(self, index: int, picker: _Picker) -> Article:
        story = self._story(index, picker)
        words = _Words(story, self.places, picker)
        title = picker.choice(_OPENINGS) + " " + picker.choice(_CLOSINGS)
        title = words.fill(title, hot=bool(self.news.hot[index]))
        count = picker.between(*_BODY_SENTENCES)
        sentences = [words.fill(picker.choice(_SENTENCES)) for _ in range(count)]
        return Article(title, sentences[0], " ".join(sentences))

    def _story(self, index: int, picker: _Picker) -> _Story:
        first, second = int(self.news.subtopic[index]), int(self.news.second_subtopic[index])
        topic = self.topics.subtopics[first]
        concepts = picker.skewed(topic.concepts, _CONCEPTS_OF_A_STORY)
        names = picker.skewed(self.named[first], _NAMES_OF_A_STORY)
        if self.news.second_share[index] > 0:
            concepts[-1] = picker.skewed(self.topics.subtopics[second].concepts, 1)[0]
            names[-1] = picker.skewed(self.named[second], 1)[0]
        return _Story(concepts, names, topic.concepts)


class _Story(NamedTuple):
    """The concepts and names of an article, and the other concepts of its subtopic."""

    concepts: list[Concept]
    names: list[Concept]
    context: list[Concept]


class _Picker:
    """Choices made by a row of prepared numbers."""

    def __init__(self, numbers: list[float]) -> None:
        self.numbers = iter(numbers)

    def chance(self, probability: float) -> bool:
        return next(self.numbers) < probability

    def between(self, low: int, high: int) -> int:
        return low + int(next(self.numbers) * (high - low + 1))

    def choice(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(next(self.numbers) * len(choices))]

    def skewed(self, choices: Sequence[Choice], count: int) -> list[Choice]:
        """Distinct choices, the earlier ones more often."""
        places: list[int] = []
        while len(places) < count:
            place = int(next(self.numbers) ** 1.5 * len(choices))
            while place in places:
                place = (place + 1) % len(choices)
            places.append(place)
        return [choices[place] for place in places]


class _Words:
    """Fills templates with the words of a story, taking its concepts and names in turn."""

    def __init__(self, story: _Story, places: list[str], picker: _Picker) -> None:
        self.story = story
        self.places = places
        self.picker = picker
        self.turn = {"w": 0, "e": 0, "b": 0, "n": 0}

    def fill(self, template: str, hot: bool = False) -> str:
        parts = template.split("{")
        filled = [parts[0]]
        for part in parts[1:]:
            word = self._word(part[0], hot)
            hot = hot and part[0] != "a"
            filled.append(word + part[2:])
        if hot:
            filled.insert(0, self.picker.choice(lexicon.HOT_WORDS) + ": ")
        return _sentence("".join(filled))

    def _word(self, kind: str, hot: bool) -> str:
        picker = self.picker
        if kind in "we":
            return self._say(kind, in_title=not picker.chance(_BORROWED))
        if kind in "bn":
            return self._say(kind, in_title=picker.chance(_BORROWED))
        if kind == "c":
            return picker.choice(picker.choice(self.story.context).body)
        if kind == "a" and hot:
            return picker.choice(lexicon.HOT_WORDS)
        return picker.choice(self.places if kind == "p" else _SHARED[kind])

    def _say(self, kind: str, in_title: bool) -> str:
        concepts = self.story.concepts if kind in "wb" else self.story.names
        concept = concepts[self.turn[kind] % len(concepts)]
        self.turn[kind] += 1
        return self.picker.choice(concept.title if in_title else concept.body)


_SHARED = {
    "v": lexicon.TITLE_VERBS,
    "a": lexicon.TITLE_ADJECTIVES,
    "t": lexicon.TITLE_TIMES,
    "g": lexicon.BODY_PEOPLE,
    "r": lexicon.BODY_REMARKS,
}


def _sentence(text: str) -> str:
    """With a capital letter in front, and "an" where a vowel follows."""
    text = re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)
    return text[0].upper() + text[1:]


def _invented_names(seed: int, number: int) -> Iterator[str]:
    """Pronounceable names, none twice and none an ordinary word of the lexicon."""
    first, last = lexicon.SYLLABLES, lexicon.LAST_SYLLABLES
    places = uniforms(seed, "names", np.arange(2 * number + 100))
    seen: set[str] = set()
    for place in (places * (len(first) * len(last))).astype(int).tolist():
        name = (first[place // len(last)] + last[place % len(last)]).capitalize()
        if name not in seen:
            seen.add(name)
            yield name

"""Vocabulary of the synthetic data, from ``lexicon.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

_WORDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))

BY_LETTER: dict[str, list[str]] = _WORDS["by_letter"]  # in templates of ``text``
HOT_WORDS: list[str] = _WORDS["hot_words"]
SYLLABLES = tuple(onset + vowel for onset in _WORDS["onsets"] for vowel in _WORDS["vowels"])
LAST_SYLLABLES = tuple(syllable + coda for syllable in SYLLABLES for coda in _WORDS["codas"])


class Concept(NamedTuple):
    """Headline words and body words for one concept."""

    title: list[str]
    body: list[str]


class Subtopic(NamedTuple):
    """A subcategory and its concepts, most common first."""

    category: str
    name: str
    concepts: list[Concept]


class Theme(NamedTuple):
    """A subject that occurs in articles of any category, and its concepts."""

    name: str
    concepts: list[Concept]


def subtopics() -> list[Subtopic]:
    """All subtopics, grouped by category."""
    return [
        Subtopic(category, name, _concepts(text))
        for category, texts in _WORDS["subtopics"].items()
        for name, text in texts.items()
    ]


def themes() -> list[Theme]:
    """All themes."""
    return [Theme(name, _concepts(text)) for name, text in _WORDS["themes"].items()]


def _concepts(text: str) -> list[Concept]:
    halves = (word.split("/") for word in text.split())
    return [Concept(title.split(","), body.split(",")) for title, body in halves]

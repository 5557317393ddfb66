"""What the documents say that can be run: commands, Python, yaml, and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import recbole_tinynews

ROOT = Path(recbole_tinynews.__file__).parents[1]
PROGRAMS = (
    *("python", "pip", "uv", "make", "docker", "curl", "torchrun", "recbole-tinynews"),
    *("export", "mkdir", "cp", "printf", "source", "hf", "git", "tensorboard"),
)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Command(NamedTuple):
    """One program that a document starts; ``inline`` are those inside a sentence."""

    page: str
    text: str
    inline: bool = False

    @property
    def words(self) -> list[str]:
        """As a shell splits it, without its comment."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page}: {self.text[:90]}"


class Block(NamedTuple):
    """A fenced block of another language, with the file name of its first line, if it has one."""

    page: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """Of ``# name.py`` in the first line: what the reader is to save."""
        first = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return first[1] if first else None


def pages() -> list[Path]:
    """The README, what stands beside it, the record, and everything under docs/."""
    data_sets = sorted((ROOT / "dataset").glob("*/README.md"))
    beside = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *data_sets]
    folders = (ROOT / "benchmarks" / "record", ROOT / "docs")
    under = [page for folder in folders for page in sorted(folder.rglob("*.md"))]
    return [page for page in (*beside, *under) if page.is_file()]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(page: Path) -> list[Command]:
    """Of fences, indented blocks and sentences, one program each."""
    name, text = name_of(page), page.read_text(encoding="utf-8")
    found = [
        Command(name, command)
        for _, language, block in FENCE.findall(text)
        if language in ("bash", "sh", "console", "")
        for command in _split(block)
    ]
    prose = FENCE.sub("", text)
    for line in re.findall(r"^ {4,}(\S.*)$", prose, re.M):
        if _starts_a_program(line):
            found += [Command(name, command) for command in _split(line)]
    for inline in INLINE.findall(re.sub(r"^ {4,}.*$", "", prose, flags=re.M)):
        if _starts_a_program(inline):
            found += [Command(name, command, inline=True) for command in _split(inline)]
    return found


def _starts_a_program(text: str) -> bool:
    first, _, rest = text.partition(" ")
    return first in PROGRAMS and rest.strip() != "" and not rest.startswith(("  ", "--- "))


def _split(block: str) -> Iterator[str]:
    """The programs of a block; a backslash or an open quote continues a line, ``&&`` ends one."""
    waiting = ""
    for line in block.replace("\\\n", " ").splitlines():
        waiting = f"{waiting}\n{line}" if waiting else line
        try:
            shlex.split(waiting, comments=True)
        except ValueError:  # a quote that the next line closes
            continue
        yield from (each.strip() for each in waiting.split(" && ") if each.strip())
        waiting = ""
    assert not waiting, f"a quote is not closed: {waiting}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of these languages."""
    text = page.read_text(encoding="utf-8")
    found = FENCE.findall(text)
    return [Block(name_of(page), language, b) for _, language, b in found if language in languages]


def links(page: Path) -> list[str]:
    """Addresses that lead to files of the repository or parts of them."""
    found = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if "://" not in link and not link.startswith("mailto:")]


def anchors(page: Path) -> set[str]:
    """The parts of a page that can be linked, as its headings are named."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[\s]+", "-", heading) for heading in plain}

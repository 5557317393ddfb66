"""xMIND: MIND with titles and abstracts in another language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.readers.cells import id_of
from recbole_tinynews.convert.readers.mind import NEWS_FILE, MindReader
from recbole_tinynews.convert.readers.reader import Source
from recbole_tinynews.convert.readers.rows import parsed, read_rows
from recbole_tinynews.convert.records import NewsRow

COLUMNS = ("nid", "title", "abstract")


class _Text(NamedTuple):
    title: str
    abstract: str


class XmindReader(MindReader):
    """Reads MIND's folders, with texts from an xMIND ``news.tsv`` of one language (``--news``).

    Articles without a translated title keep their English texts, and are counted.
    """

    expects = f"{MindReader.expects} of MIND, with xMIND's {NEWS_FILE} as --news"
    options = frozenset({"news"})

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._translations: dict[str, _Text] = {}
        self._translated_again = 0
        self._untranslated: set[str] = set()

    def problem(self, place: Path) -> str | None:
        """Describe a missing file of MIND, or a missing translation."""
        if not self.source.news:
            return f"expected {self.expects}, got no --news."
        for path in map(_file, self.source.news):
            if not path.is_file():
                return f"expected {self.expects}, found no {path}."
        return super().problem(place)

    def news_rows(self, path: Path) -> Iterable[tuple[int, Sequence[str]]]:
        """Rows of MIND's ``news.tsv``, after reading the translations."""
        if not self._translations:
            self._translations = self._read_translations()
        return super().news_rows(path)

    def article(self, path: Path, content: Sequence[str]) -> NewsRow:
        """An article with its translated texts."""
        row = super().article(path, content)
        text = self._translations.get(row.news.news_id)
        if text is None or (row.news.title.strip() and not text.title.strip()):
            self._untranslated.add(row.news.news_id)
            return row
        return NewsRow(row.news._replace(**text._asdict()))

    def about(self) -> dict[str, Any]:
        """Report section on translations."""
        return {
            "xmind": {
                "translations": len(self._translations),
                "articles_without_translation": len(self._untranslated),
                "translated_differently_again": self._translated_again,
            }
        }

    def _read_translations(self) -> dict[str, _Text]:
        texts: dict[str, _Text] = {}
        for path in map(_file, self.source.news):
            rows = read_rows(path, COLUMNS, self.on_bad_line, header=True)
            found = False
            for news_id, text in parsed(path, rows, _translation, self.on_bad_line):
                found = True
                self._translated_again += texts.setdefault(news_id, text) != text
            if not found:
                raise ConversionError(f"{path}: expected news, got no line that can be used.")
        return texts


def _translation(_: int, fields: list[str]) -> tuple[str, _Text]:
    return id_of(fields[0], column=1), _Text(*fields[1:])


def _file(path: Path) -> Path:
    return path / NEWS_FILE if path.is_dir() else path

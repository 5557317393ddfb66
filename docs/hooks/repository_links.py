"""Site hook: links to files of the repository lead to pages of the site that show them.

Pages are written for a reader of the repository: a link is relative to the page's place in it, and
may lead out of ``docs/``, to a yaml or a table of results. The site has to work without the
repository and without a network, so it takes in each file that is linked: Markdown as a page,
pictures and reports as they are, other text as a page with its lines. The README is the start page.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SHOWN = "repository"  # folder of the site for files outside of docs/
START = ("README.md", "index.md")  # in the repository, on the site
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")  # the address in [text](address#part)
LANGUAGES = {"": "dockerfile", ".py": "python", ".yaml": "yaml", ".yml": "yaml", ".cff": "yaml"}
MARKDOWN, AS_THEY_ARE = ".md", (".png", ".svg", ".jpg", ".html", ".pdf")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README and every file that a page, or a file shown before, links to."""
    waiting = [START[0], *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        place = waiting.pop()
        if not place.startswith("docs/"):
            files.append(_shown(place, config))
        found = {target for _, target in linked(place, _text(place))} - seen
        seen |= found
        waiting += sorted(target for target in found if not target.startswith("docs/"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where the site has the file."""
    here = _in_repository(page.file.src_uri)
    targets = dict(linked(here, markdown))

    def on_site(link: re.Match[str]) -> str:
        target = targets.get(link[0])
        if target is None:
            return link[0]
        return posixpath.relpath(site_place(target), posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(on_site, markdown)


def linked(place: str, text: str) -> Iterator[tuple[str, str]]:
    """The links of a Markdown file to files of the repository, as written and from its root."""
    if not place.endswith(MARKDOWN):
        return
    for link in LINK.findall(text):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(link)))
        if "://" not in link and not target.startswith("..") and (ROOT / target).is_file():
            yield link, target


def site_place(place: str) -> str:
    """Where the site has a file of the repository."""
    if place == START[0]:
        return START[1]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    keeps_its_name = place.endswith((MARKDOWN, *AS_THEY_ARE))
    return f"{SHOWN}/{place}" if keeps_its_name else f"{SHOWN}/{place}.md"


def _in_repository(site: str) -> str:
    """The other way round, for pages of Markdown."""
    if site == START[1]:
        return START[0]
    if site.startswith(f"{SHOWN}/"):
        return site.removeprefix(f"{SHOWN}/")
    return f"docs/{site}"


def _shown(place: str, config: MkDocsConfig) -> File:
    site, file = site_place(place), ROOT / place
    if place.endswith(AS_THEY_ARE):
        return File.generated(config, site, abs_src_path=str(file))
    if place.endswith(MARKDOWN):
        return File.generated(config, site, content=_text(place))
    language = LANGUAGES.get(file.suffix, "text")
    lines = f"# {place}\n\n``````{language}\n{_text(place).rstrip()}\n``````\n"
    return File.generated(config, site, content=lines)


def _text(place: str) -> str:
    file = ROOT / place
    return "" if place.endswith(AS_THEY_ARE) else file.read_text(encoding="utf-8")

"""A symbolic link to a folder in use, and links beside it to its earlier versions."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from recbole_tinynews.files.whole import exclusive_lock


def switch(link: Path, folder: Path, compared: Path | None = None) -> None:
    """Point ``link`` to another folder atomically, and the next free ``link.N`` to the old one.

    ``ValueError`` if the link no longer points to ``compared``, which ``folder`` was compared with.
    """
    with _moving(link):
        in_use = link.resolve()
        if in_use == folder.resolve():
            return
        if compared is not None and in_use != compared:
            raise ValueError(
                f"{link} was moved while the update was made: it pointed to {compared}, with which "
                f"the update was compared, and now points to {in_use}. Nothing is switched, the "
                f"update is kept in {folder}. The same command now updates what is in use."
            )
        beside = [path.suffix[1:] for path in link.parent.glob(f"{link.name}.*")]  # not only links
        number = max((int(each) for each in beside if each.isdecimal()), default=0) + 1
        _link(link.with_name(f"{link.name}.{number}"), in_use)
        _link(link, folder)  # if killed before this, ``rollback`` skips the duplicate version


def rollback(link: str | Path) -> Path:
    """Point ``link`` back to the previous version, and return it; ``ValueError`` without one."""
    link = Path(link)
    if not link.is_symlink():
        raise ValueError(f"rollback expects a symbolic link to a recommender, got {link}.")
    with _moving(link):
        beside = [p for p in link.parent.glob(f"{link.name}.*") if p.is_symlink()]
        earlier = [p for p in beside if p.suffix[1:].isdecimal()]
        for version in sorted(earlier, key=lambda path: -int(path.suffix[1:])):
            if version.exists() and version.resolve() != link.resolve():
                os.replace(version, link)
                return link.resolve()
            version.unlink()
    raise ValueError(f"{link} has no earlier version: there is no {link.name}.1 beside it.")


def _moving(link: Path) -> AbstractContextManager[None]:
    """The lock of a move; not that of an update, which a rollback does not wait for."""
    return exclusive_lock(link.absolute().with_name(f"{link.name}.switch"), "moving it")


def _link(place: Path, target: Path) -> None:
    """Make a relative link; atomically replaces an existing one."""
    unfinished = place.with_name(f".{place.name}.partial")
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(os.path.relpath(target.resolve(), place.parent.resolve()))
    os.replace(unfinished, place)

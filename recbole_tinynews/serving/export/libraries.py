"""Optional libraries of exports, and uploads to the model hub."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def library(name: str, what: str) -> Any:
    """Import a module that ``what`` needs; the ``ModuleNotFoundError`` names the extra."""
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{what} expects {name.partition('.')[0]}, which is not installed. Install it: "
            "pip install 'recbole-tinynews[export]'",
            name=missing.name,
        ) from None


def push(folder: Path, repository: str) -> str:
    """Upload an export to ``ORG/NAME``; the repository's address, or ``ValueError`` if refused.

    A new repository is private. The token is the user's own, from ``hf auth login``.
    """
    hub = library("huggingface_hub", "--push-to")
    api = hub.HfApi()
    try:
        made = api.create_repo(repo_id=repository, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            commit_message="Export of recbole_tinynews",
        )
    except Exception as problem:  # the hub's or its HTTP client's
        raise ValueError(
            f"--push-to={repository} expects a repository that you may write to, and the hub "
            f"answered: {str(problem)[:300]} The export stays in {folder}. Log in with "
            "`hf auth login`, or upload it with `hf upload`."
        ) from problem
    return str(made)

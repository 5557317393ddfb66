"""Uploads an export to the model hub."""

from __future__ import annotations

from pathlib import Path

from recbole_tinynews.serving.export.libraries import library


def push(folder: Path, repository: str) -> str:
    """Upload the folder, and return the address of the repository.

    A new repository is private. The user's own token is taken, as ``hf auth login`` leaves it.

    Args:
        folder: a finished export.
        repository: ``ORG/NAME``.

    Raises:
        ValueError: the hub refuses the name, the user, or the upload; the folder stays.
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
    except Exception as problem:  # the hub's own, and those of whichever HTTP client it uses
        raise ValueError(
            f"--push-to={repository} expects a repository that you may write to, and the hub "
            f"answered: {str(problem)[:300]} The export stays in {folder}. Log in with "
            "`hf auth login`, or upload it with `hf upload`."
        ) from problem
    return str(made)

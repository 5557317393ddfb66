"""A finished student to rank with. Nothing slow is imported before a fixture is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres import Cluster
    from served import Served
    from tiny import Tiny


@pytest.fixture(scope="session")
def student(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A Tiny-NewsRec whose teachers have another size of news vectors."""
    from served import serve

    folder = tmp_path_factory.mktemp("student")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sizes = {f"{stage}_news_dim": 24 for stage in ("post_train_teacher", "finetune_teacher")}
        place = str(folder / "saved")
        return serve(tiny, "TinyNewsRec", checkpoint_dir=place, **sizes)


@pytest.fixture
def folder(student: Served, tmp_path: Path) -> Path:
    return Path(shutil.copytree(student.artifact.folder, tmp_path / "copied"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    from postgres import Cluster, programs

    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    cluster = Cluster(folder)
    yield cluster
    cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a new store, in each of the two databases."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    return request.getfixturevalue("cluster").new_database()

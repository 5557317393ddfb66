from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from served import Served, words_of

from recbole_tinynews import load

pytest.importorskip("pyarrow")
pytestmark = [pytest.mark.long, pytest.mark.whole]

NEWS = [f"N{number}" for number in range(1, 31)]
USERS = 2_000


@pytest.fixture
def place(student: Served, tmp_path: Path) -> Path:
    """Two thousand users in parquet, and thirty articles."""
    table = pd.DataFrame({"id": NEWS, "title": words_of(NEWS)})
    table.to_parquet(tmp_path / "news.parquet")
    draws = np.random.default_rng(8)
    histories = np.split(
        draws.choice(NEWS, USERS * 3), np.sort(draws.integers(0, USERS * 3, USERS - 1))
    )
    users = pd.DataFrame({"user_id": [f"U{n}" for n in range(USERS)]})
    users["history"] = [each.tolist() for each in histories]
    users.to_parquet(tmp_path / "users.parquet", row_group_size=600)
    return tmp_path


def assert_as_local(scored: pd.DataFrame, student: Served, place: Path, top: int) -> None:
    """The rows of ``rank_table`` in this process, in any order."""
    ranker = load(student.artifact.folder)
    ranker.add_news(pd.read_parquet(place / "news.parquet"))
    local = ranker.rank_table(pd.read_parquet(place / "users.parquet"), top=top)
    order = ["user_id", "rank"]
    pd.testing.assert_frame_equal(
        scored.sort_values(order, ignore_index=True)[local.columns],
        local.sort_values(order, ignore_index=True),
        check_dtype=False,
        atol=1e-5,
    )


def test_the_example_with_ray_ranks_as_one_process_does(student: Served, place: Path) -> None:
    """Readers copy it: a batch that is lost or ranked twice would be in their tables."""
    pytest.importorskip("ray.data", reason="the extra `ray` is not installed")
    files = student.artifact.folder, place / "news.parquet", place / "users.parquet"
    script = Path(__file__).parents[2] / "examples" / "rank_with_ray.py"
    subprocess.run([sys.executable, script, *files, place / "out"], check=True)
    assert_as_local(pd.read_parquet(place / "out"), student, place, top=50)


def test_spark_scores_as_one_process_does(student: Served, place: Path, monkeypatch) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="the extra `spark` is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs a Java runtime, such as Debian's default-jre-headless")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # of the workers; else any `python3`
    ranker = load(student.artifact.folder)
    ranker.add_news(pd.read_parquet(place / "news.parquet"))

    def best(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for users in tables:
            yield ranker.rank_table(users, top=5)

    spark = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.warehouse.dir", str(place / "warehouse"))
        .getOrCreate()
    )
    try:
        users = spark.read.parquet(str(place / "users.parquet"))
        schema = "user_id string, candidate string, score float, rank long"
        users.mapInPandas(best, schema).write.parquet(str(place / "out"))
    finally:
        spark.stop()
    assert_as_local(pd.read_parquet(place / "out"), student, place, top=5)

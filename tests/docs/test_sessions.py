"""The pages that a reader follows, followed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from documents import ROOT
from postgres import Cluster, programs
from sessions import Checkout, checkout, run_page, synthetic_mind

pytestmark = [
    pytest.mark.long,
    pytest.mark.whole,
    pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="docs/ lies in a checkout only"),
]
DOCS = ROOT / "docs"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="asks with curl")


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    with checkout(tmp_path_factory.mktemp("sessions") / "checkout") as made:
        yield made


@pytest.fixture
def reader(cloned: Checkout) -> Path:
    """The folder of a new checkout."""
    cloned.reset()
    return cloned.folder


def test_the_main_job_of_the_readme_runs(reader: Path) -> None:
    """It is the first command that anybody types."""
    said = run_page(ROOT / "README.md", reader)
    assert next(reader.glob("saved/mind-mini/TinyNewsRec-*/model.safetensors")).is_file()
    assert "ndcg@10" in said
    assert "Champions win the cup" in said  # ranked in Python


@needs_curl
def test_mind_becomes_a_served_student(reader: Path) -> None:
    """A step that no longer fits the one before it would end the tutorial there."""
    pytest.importorskip("fastapi")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    synthetic_mind(reader, "MINDsmall_train", "MINDsmall_dev")
    said = run_page(DOCS / "tutorials" / "mind.md", reader)
    result = json.loads((reader / "result.json").read_text())
    assert [stage["name"] for stage in result["stages"]] == [
        *("finetune_teacher", "align_student", "AlignedNewsRec"),
    ]
    assert "Champions win the cup" in said  # ranked in Python
    assert '"id":"a"' in said.replace(" ", "")  # ranked by the service
    assert (reader / "student-int8" / "news_encoder.onnx").is_file()


def write_a_log(folder: Path) -> None:
    """Two tables as a site may have them: articles, and what was shown to whom."""
    articles = pd.read_csv(ROOT / "dataset/mind-mini/mind-mini.item", sep="\t", nrows=60)
    articles.columns = [name.partition(":")[0] for name in articles.columns]
    articles = articles.rename(columns={"item_id": "id"})
    articles.loc[3, "abstract"] = None
    articles.loc[4, "title"] = "A title with a\ttab and\na line end"
    articles.to_csv(folder / "articles.csv", index=False)
    rows = [
        {
            "impression": number,
            "user": f"U{number % 9}",
            "time": pd.Timestamp("2026-03-01 10:00") + pd.Timedelta(hours=number),
            "article": articles.id[(7 * number + place) % len(articles)],
            "clicked": place == number % 4,
        }
        for number in range(96)
        for place in range(4)
    ]
    pd.DataFrame(rows).to_csv(folder / "shown.csv", index=False)


def test_a_log_of_your_own_becomes_a_table_of_results(reader: Path) -> None:
    """The script of the page is copied as it is, so its splits and histories must be right."""
    write_a_log(reader)
    run_page(DOCS / "tutorials" / "own_data.md", reader)
    train = pd.read_csv(reader / "dataset/mine/mine.train.inter", sep="\t")
    test = pd.read_csv(reader / "dataset/mine/mine.test.inter", sep="\t")
    assert train["timestamp:float"].max() < test["timestamp:float"].min()
    report = json.loads((reader / "dataset/mine/mine.report.json").read_text())
    shown = pd.read_csv(reader / "shown.csv")
    for count, expected in (("impressions", 96), ("candidates", len(shown)), ("clicks", 96)):
        counts = [split[count] for split in report["impressions"].values()]
        assert sum(counts) == expected, count
    clicks = shown[shown.clicked & (shown.user == "U5")].article.tolist()
    histories = test[test["user_id:token"] == "U5"]["history:token_seq"].str.split()
    assert all(history == clicks[: len(history)] for history in histories)
    assert "CategoryMatch" in (reader / "benchmarks/results/mine/table.md").read_text()


def test_a_recommender_of_your_own_is_trained_and_compared(reader: Path) -> None:
    said = run_page(DOCS / "tutorials" / "own_recommender.md", reader)
    assert "'auc': " in said
    table = (reader / "benchmarks/results/mind-mini/table.md").read_text()
    assert "| MyRecommender | " in table


def test_a_distillation_student_of_your_own_is_trained_and_compared(reader: Path) -> None:
    said = run_page(DOCS / "tutorials" / "own_distillation.md", reader)
    assert "2 teachers, mean" in said
    assert "direction loss" in said
    table = (reader / "benchmarks/results/mind-mini/table.md").read_text()
    assert "| MyStudent " in table


def test_the_benchmark_that_is_read_can_be_run(reader: Path) -> None:
    run_page(DOCS / "tutorials" / "read_a_benchmark.md", reader)
    folder = reader / "benchmarks/results/mind-mini"
    names = {file.name for file in folder.iterdir()}
    assert {"table.md", "significance.md", "cold.md"} <= names


def test_the_commands_about_training_run(reader: Path) -> None:
    run_page(DOCS / "how_to_train.md", reader)
    assert len([*reader.glob("saved/mind-mini/TinyNewsRec-*")]) == 2  # other epochs, another one


def test_a_search_of_the_docs_finds_settings(reader: Path) -> None:
    pytest.importorskip("optuna")
    said = run_page(DOCS / "search.md", reader)
    assert len([*reader.glob("saved/mind-mini/search/TinyNewsRec-*/best.yaml")]) == 2
    assert "best      trial " in said


def write_tables(folder: Path) -> None:
    """The same log with a row for each impression, of articles N1, N2, ..."""
    write_a_log(folder)
    articles = pd.read_csv(folder / "articles.csv")
    names = {name: f"N{number}" for number, name in enumerate(articles.id, start=1)}
    articles.assign(id=articles.id.map(names)).to_csv(folder / "articles.csv", index=False)
    rows = pd.read_csv(folder / "shown.csv").assign(shown=lambda table: table.article.map(names))
    rows["clicked"] = rows.shown.where(rows.clicked, "")
    impressions = rows.groupby(["impression", "user", "time"])[["shown", "clicked"]]
    table = impressions.agg(lambda ids: " ".join(filter(None, ids))).reset_index()
    table.to_csv(folder / "until_today.csv", index=False)
    table[:64].to_csv(folder / "log.csv", index=False)


@pytest.fixture
def shared_store() -> Iterator[str]:
    """A database of PostgreSQL where its programs are installed; else a file."""
    found = programs()
    if found is None:
        yield "replicas.db"
        return
    cluster = Cluster(found)
    yield cluster.new_database()
    cluster.remove()


@needs_curl
def test_a_click_log_becomes_two_services_with_live_counters_and_updates(
    reader: Path, shared_store: str
) -> None:
    """An event of the page that the service refuses would teach every reader to send it so."""
    pytest.importorskip("fastapi")
    write_tables(reader)
    page = DOCS / "tutorials" / "live_counters.md"
    said = run_page(page, reader, **{"postgresql:///news": shared_store})
    assert re.search(r"updated: auc [01]", said)
    assert len([*reader.glob("saved/today/PLMNR-*")]) == 1
    assert said.count('"ranked": [') == 2
    assert '"counted": 2, "repeated": 0, "held": 0, "refused": [{"place": 2, "id": "e3"' in said
    assert '"contributions": [{"text": ' in said
    assert (reader / "events.db").is_file()


@needs_curl
def test_the_service_of_the_docs_answers(reader: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    (reader / "news.csv").write_text("id,title\nA1,Rain again\n", encoding="utf-8")
    said = run_page(DOCS / "serving.md", reader)
    assert '"click_weights":[' in said.replace(" ", "")
    assert (reader / "served/recommender/model.safetensors").is_file()
    run_page(DOCS / "export.md", reader)
    assert (reader / "out/news_encoder.onnx").is_file()

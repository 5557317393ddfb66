from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import make_benchmark, write_suite
from tiny import DATASET, Tiny

from recbole_tinynews.benchmark.benchmark import Benchmark
from recbole_tinynews.benchmark.planning import (
    model_class_of,
    plan_rows,
    read_by,
    result_fingerprint,
    row_settings,
)
from recbole_tinynews.benchmark.suite import choose, read_suite, suite_names
from recbole_tinynews.model.paper.plmnr import PLMNR, PretrainedPLMNR
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.settings.registry import MODELS, find_model
from recbole_tinynews.trainer import UntrainedTrainer, find_trainer

PAPER = 45  # rows
PAIR = ["PLM-NR_1", "PLM-NR_2"]


@pytest.fixture(name="make_benchmark")
def _make_benchmark(tiny: Tiny, tmp_path: Path) -> Callable[..., Benchmark]:
    return partial(make_benchmark, tiny, tmp_path)


@pytest.fixture(name="write_suite")
def _write_suite(tmp_path: Path) -> Callable[..., str]:
    return partial(write_suite, tmp_path)


def test_the_paper_has_all_its_rows_with_students_smaller_than_the_language_model() -> None:
    """A student with every layer of its teacher would be no distillation at all."""
    assert len({row.label for row in read_suite("paper", "mind-small").rows}) == PAPER
    suite = read_suite("paper", "mind-mini")
    assert suite.reference == "Tiny-NewsRec_3"
    assert len(suite.rows) == PAPER - 1  # six teachers
    by_label = {row.label: row for row in suite.rows}
    assert by_label["Tiny-NewsRec_3"].settings == {"num_hidden_layers": 3}
    fine_tuned = by_label["PLM-NR_4 (FT)"]
    assert (fine_tuned.settings, fine_tuned.layers) == ({}, 4)
    assert by_label["Tiny-NewsRec_3"].family == "Tiny-NewsRec"


@pytest.mark.parametrize("name", suite_names())
def test_every_row_has_settings_that_its_model_declares(tiny: Tiny, name: str) -> None:
    """A misspelt setting would be found when the row's turn comes, hours later."""
    given = {"data_path": str(tiny.data), "plm": str(tiny.plm)}
    if name == "toolkit-text":  # RecBole's own models alone
        given["item_text"] = given.pop("plm")
    known: list[Any] = []
    for dataset in ("mind-mini", "mind-small", "mind-sample", "other"):
        suite = read_suite(name, dataset)
        rows = [row for row in suite.rows if (row, suite.settings) not in known]
        known += [(row, suite.settings) for row in rows]
        for planned in plan_rows(suite, rows, DATASET, [1], given):
            assert planned.why_not == ""
            assert len(planned.fingerprints[1]) == 12


def test_rows_with_different_results_have_different_fingerprints(tiny: Tiny) -> None:
    """A row that shares another's fingerprint takes its result, and is never run."""
    suite = read_suite("paper", "mind-small")
    given = {"data_path": str(tiny.data), "plm": str(tiny.plm)}
    planned = plan_rows(suite, suite.rows, DATASET, [1, 2], given)
    marks = [mark for each in planned for mark in each.fingerprints.values()]
    twins = 2  # seeds of Tiny-NewsRec_4 and of M=4, its default
    assert len(marks) - len(set(marks)) == twins


@pytest.mark.parametrize("setting", [{"metrics": ["AUC", "Recall"]}, {"topk": [1]}])
def test_metrics_that_leave_cells_of_the_table_empty_are_refused(
    tiny: Tiny, setting: dict[str, Any]
) -> None:
    """They are in no fingerprint: the next benchmark would take such a row for a full one."""
    suite = read_suite("paper", "mind-small")
    given = {"data_path": str(tiny.data), "plm": str(tiny.plm)}
    rows = [row for row in suite.rows if row.family == "PLM-NR (FT)"]
    with pytest.raises(ValueError, match=r"must have AUC, MRR and NDCG .* leave out .*ndcg@5"):
        plan_rows(suite, rows, DATASET, [1], {**given, **setting})
    more = {"metrics": ["AUC", "MRR", "NDCG", "Recall"], "topk": [1, 5, 10]}
    (first, *_) = plan_rows(suite, rows, DATASET, [1], {**given, **more})
    assert first.why_not == ""


def test_a_rows_own_settings_win_over_those_for_all_rows() -> None:
    """--num_teachers=2 must not change a row that stands for five teachers."""
    suite = read_suite("paper", "mind-small")._replace(settings={"epochs": 1, "negatives": 2})
    row = next(row for row in suite.rows if row.label == "Tiny-NewsRec_4 (M=5)")
    given = {"num_teachers": 2, "epochs": 3, "stage_one": False}
    settings = row_settings(row.settings, TinyNewsRec, suite, given)
    expected = {"num_teachers": 5, "epochs": 3, "negatives": 2, "stage_one": False}
    assert settings | expected == settings
    assert "stage_one" not in row_settings(row.settings, PLMNR, suite, given)


def test_rows_are_chosen_by_label_model_or_group_in_the_suites_order() -> None:
    suite = read_suite("paper", "mind-small")
    rows, asked = choose(suite, ["tinybert_2", "PLMNR", "stages"])
    assert [row.label for row in asked] == [
        *("PLM-NR_12 (FT)", "PLM-NR_4 (FT)", "PLM-NR_2 (FT)", "PLM-NR_1 (FT)", "TinyBERT_2"),
        *("Tiny-NewsRec_4 w/o Stage I", "Tiny-NewsRec_4 w/o Stage II"),
    ]
    assert rows == suite.rows


def test_another_model_or_a_users_own_is_added_to_the_rows_asked_for() -> None:
    suite = read_suite("paper", "mind-small")
    rows, asked = choose(suite, ["+some/mine.py:Mine"])
    assert (len(rows), len(asked)) == (PAPER + 1, PAPER + 1)
    assert asked[-1].label == "Mine"
    _, (_, added) = choose(suite, ["+PopularNow", "TinyBERT_1"])
    assert (added.label, model_class_of(added.model).__name__) == ("PopularNow", "PopularNow")
    _, asked = choose(suite, ["TinyBERT_1", "+some/mine.py:Mine"])
    assert [row.label for row in asked] == ["TinyBERT_1", "Mine"]
    with pytest.raises(ValueError, match=r"\['Mine'\] twice"):  # they would share a row
        choose(suite, ["+one.py:Mine", "+two.py:Mine"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"row": []}, "got \\['row'\\]"),
        ({"rows": [{"label": "A", "model": "PLMNR", "setting": {}}]}, "got \\['setting'\\]"),
        ({"rows": [{"label": "A", "model": "PLMNR", "layers": "huge"}]}, "got 'huge'"),
        ({"rows": [{"label": "A", "model": "PLMNR"}] * 2}, r"(?s)num_hidden_layers.*label 'A'"),
        ({"datasets": {"*": {"leave_out": ["B"]}}}, "leave_out: 'B' is no row"),
        ({"datasets": {"x": None}}, "datasets: x must have .*, got None"),
        ({"rows": 5}, "rows must be a list, got 5"),
        ({"rows": [{"label": "A, b", "model": "PLMNR"}]}, "label 'A, b' has a comma"),
        ({"reference": "PLM-NR_3"}, "reference 'PLM-NR_3' is no row"),
        ({"comparisons": [["PLM-NR_1", "PLM-NR_3"]]}, "'PLM-NR_3' is no row"),
        ({"comparisons": [["PLM-NR_1", "PLM-NR_{small}"]]}, "compares a row with itself"),
        ({"comparisons": [PAIR, PAIR[::-1]]}, r"\['PLM-NR_2', 'PLM-NR_1'\] occurs twice"),
        ({"ceilings": {"teacher": {}}}, "got \\['teacher'\\]"),
        ({"ceilings": {"student": {"tokens": 1.5}}}, "tokens must be a whole number"),
        ({"figure": ["BERT"]}, "figure: no rows 'BERT'"),
    ],
)
def test_an_invalid_suite_says_what_is_wrong(write_suite, keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_suite(write_suite(**keys), "any")


def test_comparisons_follow_the_sizes_of_a_data_set_and_the_rows_that_it_has(write_suite) -> None:
    """A pair of a row that cannot run would be waited for."""
    pairs = [["PLM-NR_{large}", "PLM-NR_{small}"], ["PLM-NR_{large}", "Tiny-NewsRec_{large}"]]
    datasets = {"mini": {"leave_out": ["PLM-NR_1"]}, "deep": {"layers": {"large": 3}}}
    path = write_suite(comparisons=pairs, datasets=datasets)
    assert read_suite(path, "mini").comparisons == [("PLM-NR_2", "Tiny-NewsRec_2")]
    assert read_suite(path, "deep").comparisons == [
        ("PLM-NR_3", "PLM-NR_1"),
        ("PLM-NR_3", "Tiny-NewsRec_3"),
    ]


def test_a_suite_without_comparisons_has_all_rows_tested_against_its_reference(write_suite) -> None:
    """Somebody's first suite should not need a list of pairs to have a test."""
    path = write_suite(reference="PLM-NR_1")
    others = ["PLM-NR_2", "Tiny-NewsRec_2", "Tiny-NewsRec_1"]
    assert read_suite(path, "any").comparisons == [(other, "PLM-NR_1") for other in others]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"suite": "papers"}, f"No suite is named 'papers'. Suites: {', '.join(suite_names())};"),
        ({"systems": ["TinyBERT_9"]}, "no system 'TinyBERT_9'. Did you mean TinyBERT_"),
        ({"settings": {"epoch": 1}}, "epoch is no setting. Did you mean epochs"),
        ({"settings": {"fresh": True}}, "fresh is chosen for each system by --systems, --seeds"),
        ({"settings": {"seed": 1}}, "seed is chosen for each system"),
        ({"settings": {"submission": "a.zip"}}, "submission .* run one system by run_recbole.py"),
        ({"systems": ["+nowhere.py:Mine"]}, "there is no file"),
        ({"dataset": "nowhere"}, "dataset expects a folder"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Benchmark(**keywords)


def test_a_misspelt_setting_of_a_suite_is_found_before_anything_is_trained(
    make_benchmark: Callable, write_suite: Callable
) -> None:
    """It would change no row, and the table would show results of the defaults."""
    with pytest.raises(ValueError, match=r"epoch is no setting\. Did you mean epochs"):
        make_benchmark(suite=write_suite(settings={"epoch": 1}))


def test_rows_are_named_after_the_language_model_that_is_used(
    make_benchmark: Callable, write_suite: Callable
) -> None:
    """Results of another model would be shown under the name of the paper's 12 layers."""
    rows = [{"label": "PLM-NR_{layers} (FT)", "model": "PLMNR"}]
    suite = write_suite(rows=rows, layers={"all": 12})  # the tiny one has 3
    (whole,) = make_benchmark(suite=suite).suite.rows
    assert whole.label == "PLM-NR_3 (FT)"
    assert whole.settings == {}


def test_settings_of_recboles_models_reach_them(tiny: Tiny) -> None:
    """They are declared in a separate file, which a benchmark must read too."""
    suite = read_suite("toolkit", "mind-mini")
    given = {"data_path": str(tiny.data), "plm": str(tiny.plm), "item_text_ids": "added"}
    planned = {each.row.label: each for each in plan_rows(suite, suite.rows, DATASET, [1], given)}
    assert planned["FPMC"].settings["item_text_ids"] == "added"
    assert "item_text_ids" not in planned["PLM-NR"].settings


def test_an_invalid_row_is_not_run_and_the_others_are(make_benchmark: Callable) -> None:
    """A value that one model refuses says nothing against the rest."""
    benchmark = make_benchmark(settings={"temperature": -1.0})
    why_not = {label: planned.why_not for label, planned in benchmark.planned.items()}
    assert why_not["PLM-NR_2"] == ""
    assert "temperature" in why_not["Tiny-NewsRec_2"]


@pytest.mark.parametrize("changed", ["data", "language model"])
def test_a_row_is_planned_again_when_its_files_change_in_one_process(
    tiny: Tiny, tmp_path: Path, changed: str
) -> None:
    """A notebook that converts its data again would be shown the results of the data before."""
    data, plm = tmp_path / "data", tmp_path / "plm"
    shutil.copytree(tiny.data, data)
    shutil.copytree(tiny.plm, plm)
    config = tiny.config("PLMNR", data_path=str(data), plm=str(plm))
    before = result_fingerprint(config)
    assert result_fingerprint(config) == before
    file = data / DATASET / f"{DATASET}.item" if changed == "data" else plm / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert result_fingerprint(config) != before


@pytest.mark.parametrize(
    "model", ["AlignedNewsRec", "PLMNR", "PLMNRDAPT", "PLMNRTAPT", "PLMNRDP", "TinyNewsRec"]
)
def test_a_row_that_post_trains_is_planned_again_when_it_reads_other_news(
    tiny: Tiny, model: str
) -> None:
    """The table would show a system that has read the test period's news as one that hasn't."""
    train, every = (
        result_fingerprint(tiny.config(model, post_train_news=news)) for news in ("train", "all")
    )
    assert (train == every) == (model == "PLMNR")


def test_the_news_suite_declares_what_each_recommender_reads(tiny: Tiny) -> None:
    """A report of found results has no models: an input that is not declared would be hidden."""
    suite = read_suite("news", "mind-mini")
    rows = {row.label: row for row in suite.rows if row.group != "untrained"}
    for label, row in rows.items():
        config = tiny.config(row.model, **row.settings)
        beside_views = {"category"} if row.model == "MINER" else set()
        assert {*row.reads} == {*read_by(config.model_class, config)} | beside_views, label
    assert {label for label, row in rows.items() if "ids of users" in row.reads} == {
        *("LSTUR (ini)", "LSTUR (con)", "NPA"),
    }


def test_rows_that_know_the_reader_say_so(tiny: Tiny) -> None:
    """A table would call the inputs of two rows equal, one of which knows what its reader saw."""
    of_others = tiny.config("PLMNR", popularity="added")
    of_reader = tiny.config("PLMNR", popularity="added", reader="added")
    late = "until each impression, 0 s late"
    assert read_by(PLMNR, of_others) == ("title", f"clicks of other users {late}")
    assert read_by(PLMNR, of_reader) == ("title", f"clicks of other users and the reader {late}")


def test_a_suite_has_every_recommender_that_learns_from_clicks_alone() -> None:
    """A new one would be missing from the table that compares them."""
    suites = (read_suite(name, "mind-mini") for name in ("news", "time"))
    named = {row.model for suite in suites for row in suite.rows}
    models = {name: find_model(name) for name in MODELS}
    learning = {
        name
        for name, model in models.items()
        if issubclass(model, PLMNR)
        and not issubclass(find_trainer(model), UntrainedTrainer)
        and not issubclass(model, PretrainedPLMNR)
    }
    assert learning <= named


TEXT = "from recbole_tinynews.model.paper.plmnr import PLMNR\n\nclass Ours(PLMNR):\n    pass\n"


def test_a_class_in_a_file_is_found_once(tmp_path: Path) -> None:
    """Loaded twice it would be two classes, with two fingerprints for the same code."""
    path = tmp_path / "once_only_file.py"
    path.write_text(TEXT)
    cls = model_class_of(f"+{path}:Ours")
    assert issubclass(cls, PLMNR)
    assert cls is model_class_of(f"+{path}:Ours")
    assert model_class_of("PLMNR") is PLMNR


@pytest.mark.parametrize(
    ("name", "text", "asked", "message"),
    [
        ("no_class_file", TEXT, "Theirs", "has no class 'Theirs'. It has .*Ours"),
        ("no_model_file", "class Ours:\n    pass\n", "Ours", "AbstractRecommender"),
        ("broken_file", "import nothing_of_this_name\n", "Ours", "can't be imported"),
        ("json", TEXT, "Ours", "name of another module"),
        ("leaves_at_once", "import sys\nsys.exit(0)\n", "Ours", "can't be imported: SystemExit"),
    ],
)
def test_a_file_that_gives_no_recommender_says_why(tmp_path, name, text, asked, message) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        model_class_of(f"+{path}:{asked}")
    assert "broken_file" not in sys.modules


@pytest.mark.parametrize("spec", ["+mine.py", "+mine:Mine", "+mine.py:"])
def test_an_incomplete_name_is_answered_with_the_right_form(spec: str) -> None:
    with pytest.raises(ValueError, match=r"written \+path/to/file.py:Class"):
        model_class_of(spec)

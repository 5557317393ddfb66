from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from exports import (
    Make,
    assert_scores_equal,
    exported_scores,
    needs_onnx,
    needs_sentence_transformers,
    ranked_scores,
    texts,
)
from tiny import DATASET, Tiny, status_of
from transformers import AutoConfig

from recbole_tinynews.encoder.plm_files import load_tokenizer
from recbole_tinynews.export.export_command import main
from recbole_tinynews.export.exporting import TOLERANCE, differences, export, write_trimmed
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import hf
from recbole_tinynews.pipeline.artifact import TEST_DATA, read_metrics, write_metrics
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.update import update
from recbole_tinynews.serving.exported import load_export
from recbole_tinynews.serving.live_counters import LiveCounters
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.store import Store

pytestmark = pytest.mark.whole


@pytest.mark.parametrize(("score", "differs"), [(400.0, False), (0.4, True)])
def test_rounding_of_large_scores_is_no_difference(score: float, differs: bool) -> None:
    """Sums in another order differ by 1e-4 for scores of 40; a good export would be refused."""
    one, other = (
        SimpleNamespace(encode=lambda _, m=m: m, user_vectors=lambda *_: torch.ones(1, 1))
        for m in (torch.full((3, 1), score), torch.full((3, 1), score + 1e-3))
    )
    recommender = SimpleNamespace(engine=one, settings={"history_length": 4})
    found = differences(recommender, other, ["a"])
    assert [each > TOLERANCE for each in found.values()] == [differs, differs]


def test_the_card_has_the_results_of_the_test_or_else_of_the_validation(
    tiny: Tiny, tmp_path: Path
) -> None:
    """What was never tested would be taken for tested."""
    settings = tiny.settings(max_steps=2, checkpoint_dir=str(tmp_path / "saved"))
    result = run("PLMNR", DATASET, config_dict=settings)["test"]
    (folder,) = (tmp_path / "saved" / DATASET).glob("PLMNR-*")
    card = (export(folder, "hf", tmp_path / "out").folder / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "unknown"
    found = [f"{result[name]:.4f}" for name in ("auc", "mrr", "ndcg@5", "ndcg@10")]
    assert f"as trained, test impressions | {' | '.join(found)} |" in card
    write_metrics(folder, {**read_metrics(folder), TEST_DATA: "another data set"})
    card = (export(folder, "hf", tmp_path / "alone").folder / "README.md").read_text()
    assert f"validation impressions | {read_metrics(folder)['valid']['auc']:.4f} |" in card


def test_trees_are_not_exported_as_the_untrained_titles_under_them(
    finished_folder: Make, tmp_path: Path
) -> None:
    """A language model that nobody trained would have the trees' name and results."""
    pytest.importorskip("lightgbm", reason="the extra 'boosting' is not installed")
    folder = finished_folder("TimeBoosted", popularity="added", head_init="pretrained")
    with pytest.raises(ValueError, match="TimeBoosted reads or scores in its own way"):
        export(folder, "hf", tmp_path / "out")


@pytest.mark.parametrize(("layers", "popularity"), [(0, "none"), (1, "added")])
def test_a_card_with_results_of_counters_says_that_the_export_has_none(
    finished_folder: Make, tmp_path: Path, layers: int, popularity: str
) -> None:
    """Twenty points of AUC stood on the card of a folder that ranks by text alone."""
    folder = finished_folder(num_hidden_layers=layers, popularity=popularity)
    card = (export(folder, "hf", tmp_path / "out").folder / "README.md").read_text()
    assert ("ranks by text alone" in card) == (popularity == "added")


def test_the_card_names_licences_and_sizes_and_no_folder_of_the_machine_it_was_made_on(
    all_four_stages: Path, tiny: Tiny, tmp_path: Path
) -> None:
    """It is made to be published; the language model's setting is an absolute path here."""
    folder = next((all_four_stages / DATASET).glob("TinyNewsRec-*"))
    done = export(
        folder, "hf", tmp_path / "out", data_license="CC-BY-4.0", plm_license="Apache-2.0"
    )
    card = (done.folder / "README.md").read_text()
    assert "licence CC-BY-4.0" in card
    assert "licence Apache-2.0" in card
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "other"
    count = sum(each.numel() for each in FinishedRecommender(folder).model.parameters())
    assert f"{count:,}" in card
    for file in ("README.md", "recommender.json", "config.json", "tokenizer_config.json"):
        for place in (tiny.plm.parent, tmp_path, folder.parent):
            assert str(place) not in (done.folder / file).read_text(), file


def test_a_failed_export_leaves_nothing(
    finished_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an export would be taken for one."""
    monkeypatch.setattr(hf, "FORMAT", hf.FORMAT._replace(write=_heads_of_another))
    with pytest.raises(ValueError, match="differs by"):
        export(finished_folder(), "hf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def _heads_of_another(recommender: FinishedRecommender, folder: Path) -> None:
    recommender.text_encoder.dense.weight.data += 0.01
    hf._write(recommender, folder)
    recommender.text_encoder.dense.weight.data -= 0.01


def test_what_a_folder_holds_is_never_lost(finished_folder: Make, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()  # an empty folder is no hindrance
    export(finished_folder(), "hf", output)
    (output / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="new or empty"):
        export(finished_folder(), "hf", output)
    assert (output / "notes.txt").read_text() == "mine"
    assert load_export(output).settings["dataset"] == DATASET
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_changed_file_and_an_unknown_version_are_refused(
    finished_folder: Make, tmp_path: Path
) -> None:
    place = export(finished_folder(), "hf", tmp_path / "out").folder
    description = json.loads((place / "recommender.json").read_text())
    (place / "recommender.json").write_text(json.dumps({**description, "export_format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_export(place)
    (place / "recommender.json").write_text(json.dumps({**description, "engine": "gguf"}))
    with pytest.raises(ValueError, match="'gguf'"):
        load_export(place)
    (place / "recommender.json").write_text(json.dumps({**description, "to": "another format"}))
    assert load_export(place).encode({"title": ["word1"]}).isfinite().all()  # by its engine alone
    (place / "recommender.json").write_text("[]")
    with pytest.raises(ValueError, match=r"recommender\.json cannot be used"):
        load_export(place)
    (place / "recommender.json").write_text(json.dumps(description))
    weights = bytearray((place / "model.safetensors").read_bytes())
    weights[-9] ^= 1  # it would rank wrongly without a word
    (place / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match=r"model\.safetensors is missing or changed"):
        load_export(place)


def test_several_language_models_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Their vectors lie side by side, which no format here can say."""
    config = {"checkpoint_dir": str(tmp_path / "saved"), "num_teachers": 2}
    run("EnsembleTeacher", DATASET, config_dict=tiny.settings("EnsembleTeacher", **config))
    folder = next((tmp_path / "saved" / DATASET).glob("EnsembleTeacher-*"))
    with pytest.raises(ValueError, match="one of its teachers"):
        export(folder, "hf", tmp_path / "out")


def test_a_missing_library_is_named_with_its_extra(
    finished_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for to, name in (("onnx", "onnx"), ("sentence-transformers", "sentence_transformers")):
        monkeypatch.setitem(sys.modules, name, None)
        settings = {"news_pooling": "mean"}
        with pytest.raises(ModuleNotFoundError, match=r"\[export\]"):
            export(finished_folder(**settings), to, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert status_of(main, [str(tmp_path / "none"), "--to=hf", f"--output={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Not exported: load expects the folder of a finished stage")
    assert error.count("\n") == 1


@pytest.mark.parametrize("to", ["hf", pytest.param("onnx", marks=needs_onnx)])
def test_an_export_is_loaded_and_ranks_as_the_recommender(
    finished_folder: Make, tmp_path: Path, to: str
) -> None:
    """Whoever gets the export has nothing else."""
    folder = finished_folder()
    export(folder, to, tmp_path / "out")
    assert_scores_equal(ranked_scores(tmp_path / "out"), ranked_scores(folder))
    exported = load(tmp_path / "out")
    exported.counters = LiveCounters(Store())  # of a service that has recommenders that count
    exported.add_news({"A1": "word1 word2", "A2": "word3"})
    assert {each.candidate for each in exported.top([{"title": "word4 word5"}], 2)} == {"A1", "A2"}
    for use in (
        lambda: export(tmp_path / "out", "hf", tmp_path / "again"),
        lambda: write_trimmed(tmp_path / "out", tmp_path / "news.csv", tmp_path / "again"),
        lambda: update(tmp_path / "out", tmp_path),
        lambda: load(tmp_path / "out", store=":memory:"),
    ):
        with pytest.raises(ValueError, match="is an export"):
            use()


FLOOR = 14  # articles
# which sentence-transformers can express, and of one layer, as writing a graph takes seconds
HEADS = {"head_init": "pretrained", "news_dim": 24, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def trimmed(finished_folder: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, with the tokens of a few articles."""
    place = tmp_path_factory.mktemp("trimmed")
    rows = [["id", "title"], *([f"A{n}", text] for n, text in enumerate(texts()[:4]))]
    (place / "news.tsv").write_text("\n".join("\t".join(row) for row in rows))
    asked = [f"--trim_vocabulary={place / 'news.tsv'}", f"--output={place / 'out'}"]
    assert status_of(main, [str(finished_folder(**HEADS)), *asked, "--layers=1"]) == 2
    assert status_of(main, [str(finished_folder(**HEADS)), *asked]) == 0
    return place / "out"


def test_an_export_reads_an_abstract_as_its_recommender_does(
    finished_folder: Make, tmp_path: Path
) -> None:
    """Ranked by titles alone, no score would look wrong."""
    folder = finished_folder(news_text="title_abstract", text_prefix="word5 ")
    exported = load(export(folder, "hf", tmp_path / "out").folder)
    shown = [{"title": "word1"}, {"title": "word1", "abstract": "word9"}, {"title": "word7"}]
    ranked = [ranker.rank(shown[2:], shown) for ranker in (exported, load(folder))]
    assert [each.place for each in ranked[0]] == [each.place for each in ranked[1]]
    one, other = ([each.score for each in best] for best in ranked)
    assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert len({*one}) == 3


def test_a_trimmed_recommender_encodes_texts_of_kept_tokens_as_before(
    trimmed: Path, finished_folder: Make
) -> None:
    """It would rank otherwise than what was evaluated."""
    small = load_tokenizer(str(trimmed / "plm"))
    kept = [text for text in texts() if "[UNK]" not in small.tokenize(text)]
    assert 2 < len(kept) < len(texts())
    before, after = (
        load(f).engine.encode({"title": kept}) for f in (finished_folder(**HEADS), trimmed)
    )
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("to", "how"),
    [
        ("hf", "setting"),
        pytest.param("sentence-transformers", "command", marks=needs_sentence_transformers),
        pytest.param("onnx", "command", marks=[needs_onnx, pytest.mark.long]),
    ],
)
def test_exports_keep_the_trimmed_vocabulary(
    to: str, how: str, trimmed: Path, finished_folder: Make, tmp_path: Path
) -> None:
    """The language model of the training would come back with all of its embeddings."""
    by_setting = finished_folder(**HEADS, vocabulary_min_articles=FLOOR)
    folder = trimmed if how == "command" else by_setting
    export(folder, to, tmp_path / "out")
    places = finished_folder(**HEADS) / "plm", folder / "plm", tmp_path / "out"
    whole, small, exported = (AutoConfig.from_pretrained(place).vocab_size for place in places)
    assert small == exported < whole
    got = exported_scores(load_export(tmp_path / "out"))
    assert_scores_equal(got, ranked_scores(folder))

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from exports import histories, needs_onnx, texts
from tiny import DATASET, Tiny, status_of

from recbole_tinynews.__main__ import main as commands
from recbole_tinynews.export.export_command import main
from recbole_tinynews.export.exporting import TOLERANCE, differences, export, write_trimmed
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import hf
from recbole_tinynews.pipeline.artifact import TEST_DATA, read_metrics, write_metrics
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.serving.exported import load_export
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.update import update

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def tested(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A recommender whose run has ranked the test impressions, and the results of that."""
    folder = tmp_path_factory.mktemp("tested")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = tiny.settings(max_steps=2, checkpoint_dir=str(folder / "saved"))
        result = run("PLMNR", DATASET, config_dict=settings)
    return next((folder / "saved" / DATASET).glob("PLMNR-*")), result["test"]


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
    tested: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    """What was never tested would be taken for tested."""
    folder = Path(shutil.copytree(tested[0], tmp_path / tested[0].name))
    card = (export(folder, "hf", tmp_path / "out").folder / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "unknown"
    found = [f"{tested[1][name]:.4f}" for name in ("auc", "mrr", "ndcg@5", "ndcg@10")]
    assert f"as trained, test impressions | {' | '.join(found)} |" in card
    write_metrics(folder, {**read_metrics(folder), TEST_DATA: "another data set"})
    card = (export(folder, "hf", tmp_path / "alone").folder / "README.md").read_text()
    assert f"validation impressions | {read_metrics(folder)['valid']['auc']:.4f} |" in card


def test_the_card_names_licences_and_sizes(all_four_stages: Path, tmp_path: Path) -> None:
    """A stranger could not tell what a model was made of, and whether it may be used."""
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


def test_a_card_tells_no_folder_of_the_machine_it_was_made_on(
    finished_folder: Callable[..., Path], tiny: Tiny, tmp_path: Path
) -> None:
    """It is made to be published; the language model's setting is an absolute path here."""
    place = export(finished_folder(), "hf", tmp_path / "out").folder
    for file in ("README.md", "recommender.json", "config.json", "tokenizer_config.json"):
        text = (place / file).read_text()
        assert str(tiny.plm.parent) not in text, file
        assert str(tmp_path) not in text, file
        assert str(finished_folder().parent) not in text, file


# ------------------------------------------------------------------------------- what is written


def test_a_failed_export_leaves_nothing(
    finished_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_what_a_folder_holds_is_never_lost(
    finished_folder: Callable[..., Path], tmp_path: Path
) -> None:
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
    finished_folder: Callable[..., Path], tmp_path: Path
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
    (place / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing or changed"):
        load_export(place)


def test_several_language_models_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Their vectors lie side by side, which no format here can say."""
    config = {"checkpoint_dir": str(tmp_path / "saved"), "num_teachers": 2}
    run("EnsembleTeacher", DATASET, config_dict=tiny.settings("EnsembleTeacher", **config))
    folder = next((tmp_path / "saved" / DATASET).glob("EnsembleTeacher-*"))
    with pytest.raises(ValueError, match="one of its teachers"):
        export(folder, "hf", tmp_path / "out")


def test_a_missing_library_is_named_with_its_extra(
    finished_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for to, name in (("onnx", "onnx"), ("sentence-transformers", "sentence_transformers")):
        monkeypatch.setitem(sys.modules, name, None)
        settings = {"news_pooling": "mean"}
        with pytest.raises(ModuleNotFoundError, match=r"\[export\]"):
            export(finished_folder(**settings), to, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------- command


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert status_of(main, [str(tmp_path / "none"), "--to=hf", f"--output={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Not exported: load expects the folder of a finished stage")
    assert error.count("\n") == 1


@needs_onnx
def test_the_command_says_what_int8_costs(
    finished_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    arguments = ["--to=onnx-int8", "--output=out"]
    monkeypatch.setattr(sys, "argv", ["", "export", str(finished_folder()), *arguments])
    assert not commands()
    said = capsys.readouterr().out
    assert said.startswith("out: onnx-int8; vectors differ by ")
    assert load_export(tmp_path / "out").encode({"title": ["word1"]}).isfinite().all()


@pytest.mark.parametrize("to", ["hf", pytest.param("onnx", marks=needs_onnx)])
def test_an_export_is_loaded_and_ranks_as_the_recommender(
    finished_folder: Callable[..., Path], tmp_path: Path, to: str
) -> None:
    """Whoever gets the export has nothing else."""
    folder = finished_folder()
    export(folder, to, tmp_path / "out")
    own, exported = load(folder), load(tmp_path / "out")
    expected = own.rank(histories(), [texts()] * len(histories()))
    got = exported.rank(histories(), [texts()] * len(histories()))
    for ours, theirs in zip(expected, got, strict=True):
        score = {each.place: each.score for each in theirs}
        for each in ours:
            assert score[each.place] == pytest.approx(each.score, abs=1e-4)
    exported.add_news({"A1": "word1 word2", "A2": "word3"})
    best = [each.candidate for each in exported.top([{"title": "word4 word5"}], 2)]
    assert sorted(best) == ["A1", "A2"]
    with pytest.raises(ValueError, match=r"export expects .* is an export"):
        export(tmp_path / "out", "hf", tmp_path / "again")
    with pytest.raises(ValueError, match=r"export expects .* is an export"):
        write_trimmed(tmp_path / "out", tmp_path / "news.csv", tmp_path / "again")
    with pytest.raises(ValueError, match=r"update expects .* is an export"):
        update(tmp_path / "out", tmp_path)

"""``recbole-tinynews student``, of a table of articles, and ``encode``, whose vectors may teach."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import DATASET, MAX_TITLE, Tiny, status_of, titles

from recbole_tinynews import run
from recbole_tinynews.export.exporting import export
from recbole_tinynews.files.vector_files import read_vectors
from recbole_tinynews.files.whole import exclusive_lock
from recbole_tinynews.pipeline.aligned_student import main, student
from recbole_tinynews.pipeline.artifact import WEIGHTS
from recbole_tinynews.pipeline.encode import encode
from recbole_tinynews.serving.exported import load_export
from recbole_tinynews.serving.loading import load

SMALL = ("--use_gpu=False", "--use_cache=False", "--query_dim=8", "--learning_rate=1e-2")


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # the name of a data set whose settings say `finetune_layers: 0`: no token vector would move
    file = tmp_path_factory.mktemp("articles") / "ebnerd.csv"
    texts = pd.DataFrame({"headline": "x", "title": titles(), "body": "word1"})
    texts.rename_axis("id").to_csv(file)
    return file


def made(tiny: Tiny, articles: Path, output: Path, layers: int, *settings: str) -> Path:
    given = f"--plm={tiny.plm}", f"--texts={articles}", f"--output={output}", f"--layers={layers}"
    assert status_of(main, [*given, *SMALL, *settings]) == 0
    return output


@pytest.mark.parametrize("layers", [0, 1])
def test_a_student_of_texts_comes_near_the_language_model(
    layers: int, tiny: Tiny, articles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An alignment that trains nothing, or under other teachers, would still be written."""
    fit = ("--plm_learning_rate=1e-2", "--train_batch_size=8")
    with caplog.at_level("WARNING"):
        start = made(tiny, articles, tmp_path / "start", layers, "--epochs=0")
    assert "untrained" in caplog.text
    done = made(tiny, articles, tmp_path / "done", layers, "--epochs=20", *fit)
    whole = made(tiny, articles, tmp_path / "whole", 3, "--epochs=0", "--news_pooling=mean")
    first, last, target = (
        load(folder).engine.encode({"title": titles()[1:]}) for folder in (start, done, whole)
    )
    near = [torch.cosine_similarity(each, target).mean().item() for each in (first, last)]
    assert near[1] > near[0] + 0.1
    assert sorted(tmp_path.iterdir()) == [tmp_path / name for name in ("done", "start", "whole")]


def test_a_reader_is_the_mean_of_the_clicks_here_and_in_an_export(
    tiny: Tiny, articles: Path, tmp_path: Path
) -> None:
    """Without clicks there is nothing from which to learn another user encoder."""
    table = Path(shutil.copy(articles, tmp_path / "my news.csv"))
    folder = made(tiny, table, tmp_path / "out", 0, "--epochs=1")
    export(folder, "hf", tmp_path / "hf")
    for engine in (load(folder).engine, load_export(tmp_path / "hf")):
        vectors = engine.encode({"title": titles()[:5]})
        rows = torch.cat([torch.zeros_like(vectors[:1]), vectors])
        (user,) = engine.user_vectors(rows, torch.tensor([[0, 2, 4]]))
        expected = rows[[2, 4]].mean(dim=0)
        torch.testing.assert_close(user / user.norm(), expected / expected.norm())


@pytest.mark.parametrize("table", ["id,headline\n1,a\n", "title\n \n"])
def test_a_table_without_titles_is_refused_at_once(
    table: str, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "news.csv"
    file.write_text(table)
    given = [f"--plm={tiny.plm}", f"--texts={file}", f"--output={tmp_path / 'out'}"]
    assert status_of(main, given) == 1
    assert "expects a column title" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_nothing_and_says_so(
    tiny: Tiny, articles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_tinynews.pipeline.aligned_student.write_texts", stopped)
    given = f"--plm={tiny.plm}", f"--texts={articles}", f"--output={tmp_path / 'out'}"
    assert status_of(main, [*given]) == 130
    assert "nothing is kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_command_left_is_removed_by_the_next(tiny: Tiny, tmp_path: Path) -> None:
    """A night's kills would fill the disk; others' work would be removed with it."""
    for name in ("out", "other"):
        Path(tmp_path, f".{name}.0123abcd.partial", "saved").mkdir(parents=True)
    table = tmp_path / "news.csv"
    table.write_text("headline\nno title\n")
    given = f"--plm={tiny.plm}", f"--texts={table}", f"--output={tmp_path / 'out'}"
    assert status_of(main, given) == 1
    assert {path.name for path in tmp_path.iterdir()} == {".other.0123abcd.partial", "news.csv"}


def test_two_commands_do_not_make_one_folder(
    tiny: Tiny, articles: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The second would remove the first one's work as left over."""
    given = f"--plm={tiny.plm}", f"--texts={articles}", f"--output={tmp_path / 'out'}"
    with exclusive_lock(tmp_path / "out", "making it"):
        assert status_of(main, given) == 1
    assert "another process is already making it" in capsys.readouterr().err


@pytest.fixture(scope="module")
def vectors(articles: Path, tiny: Tiny) -> Path:
    file = articles.with_name("vectors.npz")
    assert encode(str(tiny.plm), file, texts=articles, settings=SMALL) == sum(map(bool, titles()))
    return file


@pytest.mark.parametrize("layers", [0, 1])
def test_a_student_of_a_language_models_vectors_is_its_student_bit_by_bit(
    layers: int, tiny: Tiny, articles: Path, vectors: Path, tmp_path: Path
) -> None:
    """Vectors by another pooling, order or precision would teach something else."""
    how = [*SMALL, "--epochs=2", "--precision=fp32"]
    folders = [
        student(str(tiny.plm), articles, tmp_path / name, layers, [*how, *given])
        for name, given in (("plm", []), ("file", [f"--teacher_vectors={vectors}"]))
    ]
    itself, of_file = ((folder / WEIGHTS).read_bytes() for folder in folders)
    assert itself == of_file


def test_a_student_starts_and_ends_in_the_space_of_a_wider_teacher(
    tiny: Tiny, articles: Path, vectors: Path, tmp_path: Path
) -> None:
    """An API's vectors are such: from its own space the student would have to turn first."""
    ids, given = read_vectors(vectors)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(given.shape[1] + 5,) * 2))[0]
    wider = (np.pad(given, ((0, 0), (0, 5))) @ turn).astype(np.float16)
    order = np.random.default_rng(0).permutation(len(ids) + 1)
    names, shuffled = np.array([*ids, "unknown"])[order], np.vstack([wider, wider[:1]])[order]
    np.savez(tmp_path / "wider.npz", ids=names, vectors=shuffled)
    how = [*SMALL, f"--teacher_vectors={tmp_path / 'wider.npz'}", "--precision=fp32"]
    near = []
    for epochs in (0, 10):
        folder = student(
            str(tiny.plm), articles, tmp_path / str(epochs), 1, [*how, f"--epochs={epochs}"]
        )
        made = load(folder).encode([titles()[int(news_id)] for news_id in ids])
        meant = torch.from_numpy(wider - wider.mean(0)).float()
        near.append(torch.cosine_similarity(torch.from_numpy(made), meant).mean().item())
    assert min(near) > 0.8


@pytest.fixture(scope="module")
def half(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of every second article of the data set; the others are as without a title."""
    folder = tmp_path_factory.mktemp("half")
    how = (f"--data_path={tiny.data}", "--use_gpu=False", f"--max_title_length={MAX_TITLE}")
    encode(str(tiny.plm), folder / "all.npz", dataset=DATASET, settings=how)
    ids, given = read_vectors(folder / "all.npz")
    np.savez(folder / "half.npz", ids=ids[::2], vectors=given[::2])
    return folder / "half.npz"


@pytest.mark.parametrize(
    ("model", "precision"),
    [("AlignedNewsRec", "fp32"), ("TinyNewsRec", "fp32"), ("TinyNewsRec", "bf16")],
)
def test_a_system_learns_from_teachers_that_are_vectors(
    model: str, precision: str, tiny: Tiny, half: Path, tmp_path: Path
) -> None:
    """No language model of a teacher is trained, and none is post-trained."""
    places = {"checkpoint_dir": str(tmp_path), "teacher_vectors": str(half)}
    places["precision"] = precision
    settings = tiny.settings(model, head_init="pretrained", **places)
    result = run(model, DATASET, config_dict=settings)
    trained = {folder.name.rpartition("-")[0] for folder in (tmp_path / DATASET).glob("*-*")}
    assert "finetune_teacher" in trained
    assert not [name for name in trained if name.startswith("post_train")]
    assert 0 <= result["test"]["auc"] <= 1
    (folder,) = (tmp_path / DATASET).glob(f"{model}-*")
    assert len(load(folder).rank([titles()[5]], titles()[6:9])) == 3
    (teacher, *_) = (tmp_path / DATASET).glob("finetune_teacher-*")
    with pytest.raises(ValueError, match="Load a student of it"):
        load(teacher)


def test_vectors_rank_as_the_language_model_that_made_them(tiny: Tiny, half: Path) -> None:
    whole = {"finetune_layers": 0, "news_pooling": "mean", "num_hidden_layers": None}
    scores = []
    for given in ({}, {"vectors": str(half.with_name("all.npz"))}):
        world = tiny.world("ZeroShotPLM", **whole, **given)
        with torch.no_grad():
            scores.append(world.model.eval().predict(world.shown([0, 1, 2])))
    torch.testing.assert_close(*scores)


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("AlignedNewsRec", {"vectors": "half"}, "Set teacher_vectors instead"),
        ("TinyBERT", {"teacher_vectors": "half"}, "vectors expects ~ in TitleBodyMatcher"),
        ("PLMNR", {"vectors": "no.npz"}, "vectors: no.npz must be a file of ids and vectors"),
        ("PLMNR", {"vectors": "half", "views": ["title", "category"]}, "views=.title."),
    ],
)
def test_vectors_where_texts_are_read_are_refused_before_training(
    model: str, given: dict[str, Any], message: str, tiny: Tiny, half: Path, tmp_path: Path
) -> None:
    given = {name: str(half) if value == "half" else value for name, value in given.items()}
    settings = tiny.settings(model, checkpoint_dir=str(tmp_path), **given)
    with pytest.raises(ValueError, match=message):
        run(model, DATASET, config_dict=settings)
    assert not any(tmp_path.iterdir())

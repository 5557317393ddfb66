"""``recbole-tinynews student``: from a language model and a table of articles to a recommender."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import Tiny, status_of, titles

from recbole_tinynews.export.exporting import export
from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.files.whole import exclusive_lock
from recbole_tinynews.pipeline.artifact import WEIGHTS
from recbole_tinynews.serving.aligned_student import main
from recbole_tinynews.serving.exported import load_export
from recbole_tinynews.serving.loading import load

SMALL = ("--use_gpu=False", "--use_cache=False", "--query_dim=8", "--learning_rate=1e-2")


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("articles") / "my news.csv"
    pd.DataFrame({"headline": "x", "title": titles(), "body": "word1"}).to_csv(file, index=False)
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
    folder = made(tiny, articles, tmp_path / "out", 0, "--epochs=1")
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


def test_a_name_chooses_no_settings(tiny: Tiny, tmp_path: Path) -> None:
    """Of a table named as a data set with ``finetune_layers: 0`` no token vector would move."""
    weights = []
    for name in ("mine.csv", "ebnerd.csv"):
        file = tmp_path / name
        pd.DataFrame({"title": titles()}).to_csv(file, index=False)
        folder = made(tiny, file, tmp_path / name.partition(".")[0], 0, "--epochs=1")
        weights.append(load_weights(folder / WEIGHTS))
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_ctrl_c_leaves_nothing_and_says_so(
    tiny: Tiny,
    articles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_tinynews.serving.aligned_student.write_texts", stopped)
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

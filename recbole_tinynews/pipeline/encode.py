"""``recbole-tinynews encode``: a file of articles' vectors by a language model, for students."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.cli import command_parser, one_line_errors, slow_imports
from recbole_tinynews.pipeline.aligned_student import write_texts

MODEL = "ZeroShotPLM"


def encode(
    plm: str,
    output: str | Path,
    texts: str | Path | None = None,
    dataset: str | None = None,
    settings: Sequence[str] = (),
) -> int:
    """Write a language model's pooled states of articles, and return their number.

    Articles are those of ``texts``, a table as for ``read_news_file``, or of ``dataset``.
    ``settings`` are others of ``ZeroShotPLM``, as ``--key=value``: ``text_prefix``,
    ``max_title_length``, ``data_path``. ``output`` is a ``.npz`` for ``teacher_vectors``: float32,
    as the language model gives them, so neither centred nor of unit length. Raises ``ValueError``
    for wrong settings or no titles.
    """
    if Path(output).suffix != ".npz":
        raise ValueError(f"output must end with .npz, got {output}. Rename it.")
    if (texts is None) == (dataset is None):
        raise ValueError("encode needs either texts or a dataset, got both or none. Name one.")
    with slow_imports():
        from recbole_tinynews.data.dataset import NewsDataset
        from recbole_tinynews.encoder.plm_files import plm_content
        from recbole_tinynews.files.vector_files import write_vectors
        from recbole_tinynews.model.article_reader import plm_source
        from recbole_tinynews.pipeline.config import NewsConfig
        from recbole_tinynews.pipeline.factory import factory_of

    given: dict[str, Any] = {"plm": plm, "eval_step": 0}
    with tempfile.TemporaryDirectory() as work:
        if texts is not None:
            dataset, given["data_path"] = write_texts(Path(texts), Path(work)), work
        config = NewsConfig(MODEL, str(dataset), config_dict=given, command_line=settings)
        data = NewsDataset(config)
        factory = factory_of(config, data)
        model = factory.model(config.model_class, config).eval()
        model.requires_grad_(False)
        encoder, trained = model.news_encoder, factory.train.training_news()
        others = np.setdiff1d(np.arange(1, data.item_num), trained)
        # packs as a student's teacher would encode them, so that bits are the same
        order = [ids[encoder.tokens.lengths[ids] > 0] for ids in (trained, others)]
        ids = np.concatenate(order)
        names, size = data.field2id_token[data.iid_field][ids], config.model_class.news_dim(config)
        pooled = _pooled(encoder, order)
        write_vectors(Path(output), names, size, pooled, plm_content(plm_source(config)))
    return len(names)


def _pooled(encoder: Any, parts: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
    dense = encoder.text_encoder.dense
    for ids in parts:
        made = np.zeros((len(ids), dense.in_features), np.float32)
        for some, pooled in encoder.pooled(ids, dense):
            made[np.searchsorted(ids, some)] = pooled.float().cpu().numpy()
        yield made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with status 1 if nothing was written."""
    parser = command_parser(
        prog="recbole-tinynews encode",
        description="Write the vectors of articles by a language model, for teacher_vectors.",
        epilog="Further settings of ZeroShotPLM: --key=value, e.g. --text_prefix='query: '.",
    )
    add = parser.add_argument
    add("--plm", required=True, help="hub name, folder or package:NAME of a language model")
    add("--texts", metavar="FILE", help="title[, id, abstract]: csv, tsv, parquet, .item")
    add("--dataset", help="or the name of a data set")
    add("--output", required=True, metavar="FILE", help="the .npz to write")
    flags, settings = parser.parse_known_args(arguments)
    with one_line_errors(parser.prog):
        number = encode(flags.plm, flags.output, flags.texts, flags.dataset, settings)
    print(f"{flags.output}: {number:,} vectors. A student: --teacher_vectors={flags.output}")

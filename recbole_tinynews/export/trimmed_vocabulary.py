"""Writes a finished recommender with a smaller vocabulary."""

from __future__ import annotations

import shutil
from pathlib import Path

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
from recbole_tinynews.files.array_cache import checksums
from recbole_tinynews.files.columns import ABSTRACT, BODY, TITLE
from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.files.whole import check_new_or_empty, whole_folder
from recbole_tinynews.model.article_reader import reads_words
from recbole_tinynews.pipeline.artifact import (
    CATEGORY_NAMES,
    FILES,
    PLM,
    TEST,
    TEST_DATA,
    WEIGHTS,
    files_of,
    read_metrics,
    read_settings,
    write_metrics,
    write_settings,
)
from recbole_tinynews.serving.article_index import read_news_file
from recbole_tinynews.serving.loading import load_trained


def write_trimmed(folder: str | Path, texts: str | Path, output: str | Path) -> tuple[int, int]:
    """Write the finished recommender in ``folder`` with the tokens that given articles use.

    ``texts`` is a table as for ``read_news_file``, ``output`` a new folder, which ``load``,
    ``serve`` and exports take in place of ``folder``. Returns the numbers of tokens after and
    before. Raises ``ValueError`` as ``load`` does, and for an export or a recommender without a
    language model; ``FileExistsError`` if ``output`` holds something.
    """
    folder, output = Path(folder), Path(output)
    check_new_or_empty(output)
    engine, settings = load_trained(folder, "export"), read_settings(folder)
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
    for plm in {part.plm for part in engine.model.modules() if isinstance(part, TextEncoder)}:
        trim_embeddings(plm, kept)
    with whole_folder(output) as unfinished:
        save_weights(engine.model.state_dict(), unfinished / WEIGHTS)
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

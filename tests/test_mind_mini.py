from __future__ import annotations

import filecmp
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from tools.mind_mini import Settings, data_sets, generate
from tools.mind_mini.__main__ import main
from tools.mind_mini.generate import ceiling
from tools.mind_mini.impressions import ClickLog, Impressions
from tools.mind_mini.lexicon import themes
from tools.mind_mini.text import make_names
from tools.mind_mini.users import Readers
from tools.mind_mini.world import make_news, make_topics

DATASET = Path(__file__).resolve().parents[1] / "dataset"


@pytest.fixture(scope="module")
def log() -> ClickLog:
    topics = make_topics(11)
    news = make_news(11, 65_000, topics)
    return ClickLog(11, news, Readers(11, topics, news), number_of_readers=50_000)


@pytest.fixture(scope="module")
def test_day(log: ClickLog) -> Impressions:
    return log.impressions("test", 0, 12_000)


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_the_size_of_chunks_changes_nothing(tmp_path: Path) -> None:
    """The memory of a machine would decide the data."""
    few = Settings(
        seed=5, news=600, users=800, impressions=99, valid_impressions=20, test_impressions=50
    )
    for chunk in (1, 97, 4096):
        generate(tmp_path / str(chunk), few, chunk=chunk)
    for file in files_of(tmp_path / "4096"):
        for chunk in ("1", "97"):
            assert filecmp.cmp(tmp_path / "4096" / file, tmp_path / chunk / file, shallow=False)


def test_marginals_are_those_of_mind(test_day: Impressions) -> None:
    """Padding, memory and time measured on other lengths say nothing about MIND."""
    history = np.diff(test_day.histories.offsets)[test_day.history_of]
    candidates = np.diff(test_day.offsets)
    clicks = np.add.reduceat(test_day.clicked.astype(int), test_day.offsets[:-1])
    assert history.mean() == pytest.approx(32, abs=2)
    assert np.median(history) == pytest.approx(18, abs=2)
    assert 0.01 < (history == 0).mean() < 0.03
    assert candidates.mean() == pytest.approx(37, abs=2)
    assert np.median(candidates) == pytest.approx(24, abs=1.5)
    assert candidates.min() == 2
    assert 200 < candidates.max() <= 300
    assert clicks.mean() == pytest.approx(1.5, abs=0.07)
    assert 0 < (clicks == 0).mean() < 0.01
    assert (clicks < candidates).all()


def test_the_oracle_equals_the_metrics_that_models_are_judged_by(test_day: Impressions) -> None:
    """A model and its upper bound must be computed by the same metric."""
    oracle = ceiling(test_day.log_odds, test_day.clicked, test_day.offsets).report()
    ranked = rank_impressions(test_day.log_odds, test_day.clicked.astype(np.int8), test_day.offsets)
    assert oracle["auc"] == pytest.approx(auc(ranked).mean(), abs=1e-6)
    assert oracle["mrr"] == pytest.approx(mrr(ranked).mean(), abs=1e-6)
    assert oracle["ndcg@5"] == pytest.approx(ndcg(ranked, 5).mean(), abs=1e-6)
    assert oracle["ndcg@10"] == pytest.approx(ndcg(ranked, 10).mean(), abs=1e-6)
    assert oracle["skipped"] == ranked.skipped


def test_impossible_sizes_are_all_reported_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--output={tmp_path / 'new'}", "--news=3", "--users=0"]) == 2
    assert re.search(r"news=3 .*users=0", capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes of mind-mini, its language model untrained."""
    folder = tmp_path_factory.mktemp("made")
    with data_sets.working_in(folder), pytest.MonkeyPatch.context() as patch:
        data_sets.write_data()
        vectors = data_sets.latent_semantics([*data_sets.texts(data_sets.RAW / "corpus.tsv")])
        patch.setattr(data_sets, "latent_semantics", lambda _: vectors)
        data_sets.write_language_model(folder / "mind-mini" / "language_model")
        data_sets.write_word_vectors(folder / "mind-mini" / data_sets.WORD_VECTORS, vectors)
    return folder / "mind-mini"


def test_mind_mini_is_what_its_script_makes(made: Path) -> None:
    """A hand-edited or outdated data set has the oracle of another one."""
    kept = DATASET / "mind-mini"
    assert files_of(made) == files_of(kept)
    for file in files_of(made):
        if file.name not in ("model.safetensors", data_sets.WORD_VECTORS):
            assert filecmp.cmp(made / file, kept / file, shallow=False), file


def test_its_word_vectors_are_what_its_script_makes(made: Path) -> None:
    """Which way an axis of latent semantic analysis points is up to the version of scikit-learn."""
    (words, cosines), (kept_words, kept) = (
        words_and_cosines(folder / data_sets.WORD_VECTORS)
        for folder in (made, DATASET / "mind-mini")
    )
    assert words == kept_words
    np.testing.assert_allclose(cosines, kept, atol=1e-3)  # they are rounded


def words_and_cosines(file: Path) -> tuple[list[str], np.ndarray]:
    """The words of a file of vectors, and how alike each two of them are."""
    lines = [line.split(" ") for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    numbers = np.array([numbers for _, *numbers in lines], dtype=np.float64)
    unit = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    return [word for word, *_ in lines], unit @ unit.T


def test_mind_mini_time_is_what_its_script_makes(tmp_path: Path) -> None:
    """A hand-edited or outdated data set has the oracle of another one."""
    made, kept = data_sets.make_time(tmp_path), DATASET / "mind-mini-time"
    assert files_of(made) == files_of(kept)
    for file in files_of(made):
        assert filecmp.cmp(made / file, kept / file, shallow=False), file
    assert sum((kept / file).stat().st_size for file in files_of(kept)) < 1_000_000
    vocabulary = (DATASET / "mind-mini" / "language_model" / "vocab.txt").read_text().split()
    read = [row[3] for row in rows(kept / "mind-mini-time.item")[1:]]
    assert {*data_sets.words(" ".join(read))} <= {*vocabulary}


@pytest.mark.whole
def test_its_language_model_is_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell a changed model from a changed machine. Few articles, two steps."""
    few = data_sets.SETTINGS._replace(
        news=600, users=50, impressions=99, valid_impressions=20, test_impressions=50, corpus=150
    )
    monkeypatch.setattr(data_sets, "SETTINGS", few)
    two_steps = {**data_sets.PRETRAINING, "pretrain_teacher_max_steps": 2}
    made, again = (data_sets.make(tmp_path / name, two_steps) for name in ("made", "again"))
    assert files_of(made) == files_of(again) == files_of(DATASET / "mind-mini")
    for file in files_of(made):
        assert filecmp.cmp(made / file, again / file, shallow=False), file


def test_mind_mini_is_small_and_says_what_it_is() -> None:
    """It is cloned and installed with every copy of the project."""
    files = [path for path in (DATASET / "mind-mini").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert "**Synthetic.**" in (DATASET / "mind-mini" / "README.md").read_text()
    oracle = json.loads((DATASET / "mind-mini" / "mind-mini.oracle.json").read_text())
    assert oracle["synthetic"] is True
    assert oracle["test"]["auc"] == pytest.approx(0.81, abs=0.02)


def test_the_language_model_loads_without_a_hub_and_knows_every_word() -> None:
    """Unknown words would be cut into letters, and no headline would fit."""
    transformers = pytest.importorskip("transformers")
    folder = DATASET / "mind-mini" / "language_model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model, loaded = transformers.AutoModelForMaskedLM.from_pretrained(
        folder, local_files_only=True, output_loading_info=True
    )
    assert tokenizer.is_fast
    assert not loaded["missing_keys"]
    assert model.config.vocab_size == len(tokenizer)
    item = rows(DATASET / "mind-mini" / "mind-mini.item")[1]
    pieces = tokenizer.tokenize(item[3] + " " + item[5])
    assert not [piece for piece in pieces if piece.startswith("##") or piece == "[UNK]"]
    assert tokenizer.tokenize("Qz") == ["q", "##z"]
    assert tokenizer("A", "b").token_type_ids == [0, 0, 0, 1, 1]


def test_the_language_model_has_learned_which_words_go_together() -> None:
    """On a random language model training before finetuning hurts, and zero-shot is chance."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = DATASET / "mind-mini" / "language_model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    table = model.get_input_embeddings().weight.detach()
    table = torch.nn.functional.normalize(table - table.mean(0), dim=1)
    subjects = [[w for c in theme.concepts for w in c.title + c.body] for theme in themes()]
    means = torch.stack([table[tokenizer.convert_tokens_to_ids(s)].mean(0) for s in subjects])
    same = [
        float(
            (table[tokenizer.convert_tokens_to_ids(s)] @ means.T)
            .argmax(1)
            .eq(number)
            .float()
            .mean()
        )
        for number, s in enumerate(subjects)
    ]
    assert np.mean(same) > 0.9


def test_more_articles_than_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A StopIteration after minutes says nothing."""
    monkeypatch.setattr("tools.mind_mini.lexicon.SYLLABLES", ("ba", "bo"))
    with pytest.raises(ValueError, match="--news expects fewer articles"):
        make_names(1, make_topics(1), 100_000)

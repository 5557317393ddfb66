from __future__ import annotations

import filecmp
import gzip
import importlib.util
import json
import re
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from recbole_tinynews.convert.synthetic import Settings, generate
from recbole_tinynews.convert.synthetic.__main__ import main
from recbole_tinynews.convert.synthetic.generate import Ceiling, ceiling
from recbole_tinynews.convert.synthetic.impressions import MOVING, ClickLog, Impressions
from recbole_tinynews.convert.synthetic.lexicon import subtopics, themes
from recbole_tinynews.convert.synthetic.text import make_names
from recbole_tinynews.convert.synthetic.users import Histories, Readers
from recbole_tinynews.convert.synthetic.world import make_news, make_topics, normals, uniforms
from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions

DATASET = Path(__file__).resolve().parents[2] / "dataset"
SPLITS = ("train", "valid", "test")
SMALL = Settings(
    seed=5, news=3000, users=800, impressions=1500, valid_impressions=300, test_impressions=700
)
EXPECTED_FILES = {
    *(Path(split, name) for split in SPLITS for name in ("behaviors.tsv", "news.tsv")),
    Path("bodies.tsv"),
    Path("oracle.json"),
}
FUNCTION_WORDS = {"the", "a", "an", "and", "its", "that", "as", "what", "but", "before", "in"}


class Behavior(NamedTuple):
    number: str
    user: str
    time: str
    history: list[str]
    candidates: list[str]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    generate(folder, SMALL)
    return folder


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


def behaviors(folder: Path, split: str) -> list[Behavior]:
    return [
        Behavior(number, user, time, history.split(), candidates.split())
        for number, user, time, history, candidates in rows(folder / split / "behaviors.tsv")
    ]


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_seed_decides_every_byte(raw: Path, tmp_path: Path) -> None:
    """Results on data that can't be regenerated can't be checked by anyone."""
    few = SMALL._replace(news=600, impressions=99, valid_impressions=20, test_impressions=50)
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        generate(tmp_path / name, few._replace(seed=seed))
    assert files_of(raw) == files_of(tmp_path / "one") == EXPECTED_FILES
    for file in EXPECTED_FILES:
        assert filecmp.cmp(tmp_path / "one" / file, tmp_path / "again" / file, shallow=False)
        assert not filecmp.cmp(tmp_path / "one" / file, tmp_path / "other" / file, shallow=False)


def test_the_size_of_chunks_changes_nothing(tmp_path: Path) -> None:
    """The memory of a machine would decide the data."""
    few = SMALL._replace(news=600, impressions=99, valid_impressions=20, test_impressions=50)
    for chunk in (1, 97, 4096):
        generate(tmp_path / str(chunk), few, chunk=chunk)
    for file in EXPECTED_FILES:
        for chunk in ("1", "97"):
            assert filecmp.cmp(tmp_path / "4096" / file, tmp_path / chunk / file, shallow=False)


def test_more_impressions_begin_with_the_same_ones(raw: Path, tmp_path: Path) -> None:
    """A larger log that changes the smaller one makes sizes incomparable."""
    generate(tmp_path, SMALL._replace(impressions=100))
    assert behaviors(raw, "train")[:100] == behaviors(tmp_path, "train")


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


def test_popularity_has_a_long_tail(test_day: Impressions) -> None:
    """Where all articles are shown equally often, learning from popularity can't be observed."""
    shown = np.sort(np.bincount(test_day.candidates))[::-1]
    assert shown[: len(shown) // 10].sum() > 0.4 * shown.sum()


def test_titles_are_as_long_as_those_of_mind(raw: Path) -> None:
    lengths = [len(title.split()) for _, title, _ in rows(raw / "bodies.tsv")]
    assert np.mean(lengths) == pytest.approx(11.5, abs=0.5)


def test_the_oracle_leaves_room_below_and_above(test_day: Impressions) -> None:
    """At 0.5 there is nothing to learn; near 1 systems can't be told apart."""
    all_that_counts = ceiling(test_day.log_odds, test_day.clicked, test_day.offsets).report()
    from_text = ceiling(test_day.text_log_odds, test_day.clicked, test_day.offsets).report()
    assert all_that_counts["auc"] == pytest.approx(0.81, abs=0.015)
    assert all_that_counts["auc"] - 0.1 < from_text["auc"] < all_that_counts["auc"] - 0.03


def test_no_history_holds_a_candidate_or_a_click_of_the_future(
    log: ClickLog, test_day: Impressions
) -> None:
    """A model would be rewarded for finding the candidate in the history."""
    histories = test_day.histories
    published = log.news.published
    for row in range(2000):
        reader = test_day.history_of[row]
        clicks = slice(histories.offsets[reader], histories.offsets[reader + 1])
        candidates = test_day.candidates[test_day.offsets[row] : test_day.offsets[row + 1]]
        assert not set(histories.news[clicks]) & set(candidates)
        assert (published[histories.news[clicks]] <= histories.hours[clicks]).all()
        assert (np.diff(histories.hours[clicks]) >= 0).all()
        assert (histories.hours[clicks] < test_day.hours[row]).all()
        age = test_day.hours[row] - published[candidates]
        assert ((age >= 0) & (age <= 48)).all()
        assert len(set(candidates)) == len(candidates)


def test_news_of_the_test_day_are_mostly_unseen_in_training(raw: Path) -> None:
    """Otherwise a table of item ids wins, as it never does on MIND."""
    shown = {
        split: {c[:-2] for behavior in behaviors(raw, split) for c in behavior.candidates}
        for split in SPLITS
    }
    assert len(shown["test"] & shown["train"]) < 0.4 * len(shown["test"])


@pytest.mark.parametrize("split", SPLITS)
def test_every_id_has_a_news_row_and_a_body(raw: Path, split: str) -> None:
    """News without text would be ranked by nothing."""
    named = {
        news
        for behavior in behaviors(raw, split)
        for news in (*behavior.history, *(c[:-2] for c in behavior.candidates))
    }
    listed = [row[0] for row in rows(raw / split / "news.tsv")]
    assert sorted(named) == sorted(listed)
    assert named <= {row[0] for row in rows(raw / "bodies.tsv")}


@pytest.mark.parametrize("split", SPLITS)
def test_the_format_is_that_of_mind(raw: Path, split: str) -> None:
    """A reader written for MIND would need a second branch for our own data."""
    for news in rows(raw / split / "news.tsv"):
        assert len(news) == 8
        assert all(news)
        assert re.fullmatch(r"N\d+", news[0])
        assert json.loads(news[6]) == json.loads(news[7]) == []
    for number, behavior in enumerate(behaviors(raw, split), start=1):
        assert behavior.number == str(number)
        assert re.fullmatch(r"U\d+", behavior.user)
        assert re.fullmatch(r"11/\d{1,2}/2019 [1-9]\d?:\d\d:\d\d [AP]M", behavior.time)
        datetime.strptime(behavior.time, "%m/%d/%Y %I:%M:%S %p")
        assert all(re.fullmatch(r"N\d+-[01]", shown) for shown in behavior.candidates)
        assert all(re.fullmatch(r"N\d+", clicked) for clicked in behavior.history)


def test_the_splits_follow_each_other_in_time(raw: Path) -> None:
    """A random split would let a model look into the week it is tested on."""
    times = {
        split: [datetime.strptime(b.time, "%m/%d/%Y %I:%M:%S %p") for b in behaviors(raw, split)]
        for split in SPLITS
    }
    assert min(times["train"]) >= datetime(2019, 11, 9)
    assert max(times["train"]) < datetime(2019, 11, 15) <= min(times["valid"])
    assert max(times["valid"]) < datetime(2019, 11, 16) <= min(times["test"])


def test_texts_have_no_tabs_and_one_kind_of_letters(raw: Path) -> None:
    """A tab or a line break in a text moves all that follows into other columns."""
    for news, title, body in rows(raw / "bodies.tsv"):
        assert re.fullmatch(r"N\d+", news)
        assert re.fullmatch(r"[A-Za-z:,.; ]+", title + body)
        assert "  " not in title + body


def test_a_body_tells_its_title_in_other_words(raw: Path) -> None:
    """Shared words alone would match titles and bodies, and post-training would teach nothing."""
    shared, exclusive = [], []
    for _, title, body in rows(raw / "bodies.tsv"):
        words = set(re.findall(r"\w+", title.lower())) - FUNCTION_WORDS
        share = len(words & set(re.findall(r"\w+", body.lower()))) / len(words)
        shared.append(share)
        exclusive.append(share == 0)
    assert 0.05 < np.mean(shared) < 0.25
    assert np.mean(exclusive) > 0.1


def auc_of_shares(log: ClickLog, run: Impressions, subject: np.ndarray) -> float:
    """AUC of ranking by the share of the history's clicks on the candidate's subject."""
    histories = run.histories
    shares = np.zeros((len(histories.offsets) - 1, subject.max() + 1))
    reader = np.repeat(np.arange(len(shares)), np.diff(histories.offsets))
    np.add.at(shares, (reader, subject[histories.news]), 1)
    row = np.repeat(np.arange(len(run.readers)), np.diff(run.offsets))
    scores = shares[run.history_of[row], subject[run.candidates]]
    return ceiling(scores, run.clicked, run.offsets).report()["auc"]


def test_themes_tell_more_of_clicks_than_categories(log: ClickLog, test_day: Impressions) -> None:
    """Where counting categories ranks best, no language model can show what it is worth."""
    topics = log.readers.topics
    category = auc_of_shares(log, test_day, topics.category[log.news.subtopic])
    subtopic = auc_of_shares(log, test_day, log.news.subtopic)
    theme = auc_of_shares(log, test_day, log.news.theme)
    assert 0.53 < category < 0.6
    assert 0.53 < subtopic < 0.6
    assert 0.65 < theme < 0.72


def test_no_count_of_subjects_beats_the_estimate_of_what_text_tells(
    log: ClickLog, test_day: Impressions
) -> None:
    """An estimate that a simple rule beats is no bound on what models can reach."""
    estimate = ceiling(test_day.text_log_odds, test_day.clicked, test_day.offsets).report()["auc"]
    assert estimate > auc_of_shares(log, test_day, log.news.theme) + 0.03


def test_without_clicks_nothing_is_liked_more_than_its_share(log: ClickLog) -> None:
    """A new reader's estimate would be undefined, and so would the ranking of an impression."""
    nobody = Histories(np.array([], dtype=int), np.array([]), np.array([0, 0]))
    liking = log.readers.apparent_liking(nobody)
    assert np.ptp(liking.themes) == pytest.approx(0, abs=1e-9)
    assert np.isfinite(liking.subtopics).all()


def test_the_corpus_is_of_the_same_world_and_changes_nothing_else(
    raw: Path, tmp_path: Path
) -> None:
    """A language model that has read the data set's own texts would know what it is tested on."""
    generate(tmp_path, SMALL._replace(corpus=300))
    for file in EXPECTED_FILES - {Path("oracle.json")}:
        assert filecmp.cmp(raw / file, tmp_path / file, shallow=False)
    corpus, bodies = rows(tmp_path / "corpus.tsv"), rows(raw / "bodies.tsv")
    assert len(corpus) == 300
    assert not {row[0] for row in corpus} & {row[0] for row in bodies}
    assert not {row[1] for row in corpus} & {row[1] for row in bodies}
    assert all(text.startswith(f"{title}. ") for _, title, text in corpus)
    known = set(re.findall(r"\w+", " ".join(row[2] for row in bodies).lower()))
    read = re.findall(r"\w+", " ".join(row[2] for row in corpus).lower())
    assert np.mean([word in known for word in read]) > 0.9


def test_interests_drift(log: ClickLog) -> None:
    """With fixed interests the newest clicks would say no more than the oldest."""
    readers = np.arange(2000)
    first = log.readers.interests(readers, np.zeros(2000)).themes
    last = log.readers.interests(readers, np.full(2000, 38.0 * 24)).themes
    assert 0.1 < (first != last).mean() < 0.5


def test_the_oracle_equals_the_plain_definitions() -> None:
    """A wrong upper bound is beaten, or never reached, and nobody learns why."""
    random = np.random.default_rng(0)
    lengths = random.integers(2, 20, 300)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    scores = random.integers(0, 6, offsets[-1]).astype(float)  # many ties
    clicked = random.random(offsets[-1]) < 0.2
    result = ceiling(scores, clicked, offsets)
    plain = [
        plain_metrics(scores[a:b], clicked[a:b])
        for a, b in pairwise(offsets)
        if clicked[a:b].any() and not clicked[a:b].all()
    ]
    assert (result.impressions, result.skipped) == (len(plain), 300 - len(plain))
    np.testing.assert_allclose(result.sums, np.sum(plain, axis=0))


def plain_metrics(scores: np.ndarray, clicked: np.ndarray) -> list[float]:
    margins = scores[clicked][:, None] - scores[~clicked]
    label = clicked[np.argsort(scores, kind="stable")[::-1]]
    place = np.arange(1, len(label) + 1)
    gains = 1 / np.log2(place + 1)
    ideal = np.sort(label)[::-1]
    return [
        float(np.mean((margins > 0) + 0.5 * (margins == 0))),
        float((label / place).sum() / label.sum()),
        *(float((label * gains)[:k].sum() / (ideal * gains)[:k].sum()) for k in (5, 10)),
    ]


def test_the_oracle_equals_the_metrics_that_models_are_judged_by(test_day: Impressions) -> None:
    """A model and its upper bound must be computed by the same metric."""
    oracle = ceiling(test_day.log_odds, test_day.clicked, test_day.offsets).report()
    ranked = rank_impressions(test_day.log_odds, test_day.clicked.astype(np.int8), test_day.offsets)
    assert oracle["auc"] == pytest.approx(auc(ranked).mean(), abs=1e-6)
    assert oracle["mrr"] == pytest.approx(mrr(ranked).mean(), abs=1e-6)
    assert oracle["ndcg@5"] == pytest.approx(ndcg(ranked, 5).mean(), abs=1e-6)
    assert oracle["ndcg@10"] == pytest.approx(ndcg(ranked, 10).mean(), abs=1e-6)
    assert oracle["skipped"] == ranked.skipped


def test_an_oracle_of_no_impression_is_an_error_and_not_nan() -> None:
    with pytest.raises(ValueError, match="Generate more impressions"):
        Ceiling(np.zeros(4), 0, 3).report()


def test_draws_are_uniform_and_independent() -> None:
    """A weak hash shows as a pattern that models learn instead of interests."""
    numbers = uniforms(3, "x", np.arange(400)[:, None], np.arange(300))
    assert ((numbers > 0) & (numbers < 1)).all()
    assert np.bincount((numbers * 10).astype(int).ravel(), minlength=10).std() < 250
    other = uniforms(3, "y", np.arange(400)[:, None], np.arange(300))
    pairs = [(numbers, other), (numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])]
    for left, right in pairs:
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.015
    gauss = normals(3, "x", np.arange(100_000))
    assert (gauss.mean(), gauss.std()) == pytest.approx((0, 1), abs=0.015)


def test_subtopics_and_themes_hardly_share_words() -> None:
    """Shared words would make different subjects look alike."""
    subjects = [*subtopics(), *themes()]
    words = [word for subject in subjects for c in subject.concepts for word in c.title + c.body]
    assert len(set(words)) > 0.99 * len(words)
    assert all(re.fullmatch("[a-z]+", word) for word in words)


def test_impossible_sizes_are_all_reported_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--output={tmp_path / 'new'}", "--news=3", "--users=0"]) == 2
    assert re.search(r"news=3 .*users=0", capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


def test_the_command_says_that_the_data_are_synthetic(tmp_path: Path) -> None:
    """Nobody may take these numbers for results on MIND."""
    sizes = ["--news=600", "--users=50", "--impressions=80"]
    assert main([f"--output={tmp_path}", *sizes, "--valid-impressions=20", "--seed=9"]) == 0
    oracle = json.loads((tmp_path / "oracle.json").read_text())
    assert oracle["synthetic"] is True
    assert oracle["settings"]["seed"] == 9
    assert oracle["settings"]["impressions"] == 80
    assert set(oracle["test"]) == {"auc", "mrr", "ndcg@5", "ndcg@10", "impressions", "skipped"}
    assert "from_now" not in oracle
    assert main([f"--output={tmp_path}", *sizes, "--valid-impressions=20", "--moving"]) == 0
    oracle = json.loads((tmp_path / "oracle.json").read_text())
    assert oracle["log_odds_weights"]["popularity"] > 0
    assert oracle["from_now"]["test"]["auc"] < oracle["test"]["auc"]


@pytest.fixture(scope="module")
def script() -> Any:
    file = importlib.util.spec_from_file_location("make_mind_mini", DATASET / "make_mind_mini.py")
    assert file is not None
    assert file.loader is not None
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(script: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes of mind-mini, its language model untrained."""
    folder = tmp_path_factory.mktemp("made")
    with script.working_in(folder), pytest.MonkeyPatch.context() as patch:
        script.write_data()
        vectors = script.latent_semantics([*script.texts(script.RAW / "corpus.tsv")])
        patch.setattr(script, "latent_semantics", lambda _: vectors)
        script.write_language_model(folder / "mind-mini" / "language_model")
        script.write_word_vectors(folder / "mind-mini" / script.WORD_VECTORS, vectors)
    return folder / "mind-mini"


def test_mind_mini_is_what_its_script_makes(script: Any, made: Path) -> None:
    """A hand-edited or outdated data set has the oracle of another one."""
    kept = DATASET / "mind-mini"
    assert files_of(made) == files_of(kept)
    for file in files_of(made):
        if file.name not in ("model.safetensors", script.WORD_VECTORS):
            assert filecmp.cmp(made / file, kept / file, shallow=False), file


def test_its_word_vectors_are_what_its_script_makes(script: Any, made: Path) -> None:
    """Which way an axis of latent semantic analysis points is up to the version of scikit-learn."""
    (words, cosines), (kept_words, kept) = (
        words_and_cosines(folder / script.WORD_VECTORS) for folder in (made, DATASET / "mind-mini")
    )
    assert words == kept_words
    np.testing.assert_allclose(cosines, kept, atol=1e-3)  # they are rounded


def words_and_cosines(file: Path) -> tuple[list[str], np.ndarray]:
    """The words of a file of vectors, and how alike each two of them are."""
    lines = [line.split(" ") for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    numbers = np.array([numbers for _, *numbers in lines], dtype=np.float64)
    unit = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    return [word for word, *_ in lines], unit @ unit.T


def test_mind_mini_time_is_what_its_script_makes(script: Any, tmp_path: Path) -> None:
    """A hand-edited or outdated data set has the oracle of another one."""
    made, kept = script.make_time(tmp_path), DATASET / "mind-mini-time"
    assert files_of(made) == files_of(kept)
    for file in files_of(made):
        assert filecmp.cmp(made / file, kept / file, shallow=False), file
    assert sum((kept / file).stat().st_size for file in files_of(kept)) < 1_000_000
    vocabulary = (DATASET / "mind-mini" / "language_model" / "vocab.txt").read_text().split()
    read = [row[3] for row in rows(kept / "mind-mini-time.item")[1:]]
    assert {*script.words(" ".join(read))} <= {*vocabulary}


def test_popularity_rises_from_nothing_to_one_peak_and_falls() -> None:
    """One that only falls would be known from the age alone."""
    topics = make_topics(2)
    news = make_news(2, 900, topics)
    log = ClickLog(2, news, Readers(2, topics, news), 50, MOVING._replace(appeal=0.0, age=0.0))
    hours = np.arange(0, 49, 0.25)
    for article in range(20):
        at = news.published[article] + hours
        popularity = log._now_log_odds(np.full(len(hours), article), at)
        peak = popularity.argmax()
        assert popularity[0] == pytest.approx(0, abs=1e-9)
        assert 1.25 <= hours[peak] <= 12.25
        assert (np.diff(popularity[: peak + 1]) > 0).all()
        assert (np.diff(popularity[peak:]) < 0).all()


@pytest.mark.whole
def test_its_language_model_is_the_same_each_time(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell a changed model from a changed machine. Few articles, two steps."""
    few = script.SETTINGS._replace(
        news=600, users=50, impressions=99, valid_impressions=20, test_impressions=50, corpus=150
    )
    monkeypatch.setattr(script, "SETTINGS", few)
    two_steps = {**script.PRETRAINING, "pretrain_teacher_max_steps": 2}
    made, again = (script.make(tmp_path / name, two_steps) for name in ("made", "again"))
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
    monkeypatch.setattr("recbole_tinynews.convert.synthetic.lexicon.SYLLABLES", ("ba", "bo"))
    with pytest.raises(ValueError, match="--news expects fewer articles"):
        make_names(1, make_topics(1), 100_000)

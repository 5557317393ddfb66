from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from served import Served, assert_ranks_as_evaluated, in_order_given, serve, words_of
from tiny import Tiny, finished, write_roberta

from recbole_tinynews.serving import article_index
from recbole_tinynews.serving import ranker as ranking


def test_a_loaded_student_and_its_teacher_rank_as_evaluation_does(student: Served) -> None:
    """A teacher's stage has other settings: other layers, another size of vectors."""
    assert_ranks_as_evaluated(student)
    (artifact, _) = [a for a in finished(student.run) if a.name == "finetune_teacher"]
    assert_ranks_as_evaluated(student._replace(artifact=artifact))


@pytest.mark.parametrize(
    "settings",
    [
        {"history_padding": "learned"},  # empty slots count, so the padded width matters
        {"mask_padding_in_news_pooling": False},  # here the padded width of a title matters
        {"user_encoder": "self_attention", "news_pooling": "mean", "max_title_length": 7},
        {"history_length": 2},
    ],
)
def test_settings_of_the_training_are_those_of_the_ranking(tiny: Tiny, settings) -> None:
    """Each changes every score, and none changes the shape of a weight."""
    assert_ranks_as_evaluated(serve(tiny, max_steps=2, **settings))


def test_ids_are_ranked_by_the_abstract_too_if_the_recommender_reads_it(tiny: Tiny) -> None:
    """By the titles alone, scores were not those of the evaluation."""
    served = serve(tiny, max_steps=2, news_text="title_abstract")
    histories, candidates, expected = served.impressions()
    ranked = served.load_with_news().rank(histories, candidates)
    for each, scores in zip(ranked, expected, strict=True):
        np.testing.assert_allclose(in_order_given(each), scores, atol=1e-5)


def test_a_text_is_the_id_or_the_title_that_the_caller_says(student: Served) -> None:
    """An id that is read as a title has a score too; before articles are added none is known."""
    titles = [*words_of(["N3", "N4", "N5"])]
    with pytest.raises(ValueError, match="Ids of the 0 articles"):
        student.load().rank(["N3"], ["N4", "N5"], ids=True)
    ranker = student.load_with_news()
    by_id = ranker.rank(["N3"], ["N4", "N5"], ids=True)
    assert [each[1:] for each in by_id] == [
        pytest.approx(each[1:]) for each in ranker.rank(titles[:1], titles[1:], ids=False)
    ]
    with pytest.raises(ValueError, match="Ids of the"):
        ranker.rank(titles[:1], titles[1:], ids=True)
    for unknown in (["N5", "N999"], ["a new article"]):
        with pytest.raises(ValueError, match=f"got '{unknown[-1]}'. Add .*title"):
            ranker.rank(["N5"], unknown)
    assert len(ranker.rank(["N5"], ["N7", {"title": "a new article"}])) == 2
    with pytest.raises(ValueError, match="got 'N998' and 1 more"):
        ranker.rank([], ["N1", "N998", "N999"])


def test_another_kind_of_tokenizer_is_saved_as_well(tiny: Tiny, tmp_path: Path) -> None:
    """RoBERTa's has other special tokens and another padding id."""
    plm = write_roberta(tmp_path / "roberta")
    assert_ranks_as_evaluated(serve(tiny._replace(plm=plm), max_steps=2))


def test_each_text_is_encoded_once(student: Served, monkeypatch) -> None:
    """A server meets the same news thousands of times a minute."""
    ranker = student.load()
    encoded: list[int] = []
    encoder = ranker.engine.model.news_encoder
    plain = encoder.encode_texts
    monkeypatch.setattr(
        encoder, "encode_texts", lambda given: encoded.append(len(given["title"])) or plain(given)
    )
    first = ranker.rank([["word1", "word2 word3"], []], [["word2 word3"], ["word4"]])
    assert encoded == [3]
    [again], [[one], _] = ranker.rank(["word1", "word2 word3"], ["word2 word3"]), first
    assert again == one._replace(score=pytest.approx(one.score, abs=1e-5))
    vectors = ranker.encode(["word4", "word5", "word4"])
    assert encoded == [3, 1]
    assert (vectors.dtype, vectors[0].tolist()) == (np.float32, vectors[2].tolist())
    nobody = torch.zeros(1, vectors.shape[1]), torch.zeros(1, 6, dtype=int)
    scores = in_order_given(ranker.rank([], ["word4", "word5"]))
    user = ranker.engine.user_vectors(*nobody)[0].numpy()
    np.testing.assert_allclose(vectors[:2] @ user, scores, atol=1e-5)
    assert encoded == [3, 1]
    assert ranker.encode([]).shape == (0, vectors.shape[1])


def test_memory_does_not_grow_with_the_texts_met(student: Served, monkeypatch) -> None:
    """A server that runs for months would run out of it."""
    monkeypatch.setattr(article_index, "CACHED_VECTORS", 2)
    ranker = student.load()
    shown = ["word1 word2", "word3 word4", "word5 word6"]
    before = ranker.rank([], shown)
    assert list(ranker.index._vectors) == [(each,) for each in shown[1:]]
    ranker.rank([], [shown[1]])
    ranker.rank([], ["word7 word8"])
    assert list(ranker.index._vectors) == [(shown[1],), ("word7 word8",)]
    after = ranker.rank([], shown)
    assert [each.candidate for each in after] == [each.candidate for each in before]
    np.testing.assert_allclose([e.score for e in after], [e.score for e in before], atol=1e-6)


def test_equal_candidates_keep_their_order_and_their_places(student: Served) -> None:
    """Two articles may share a title, and the caller's list tells them apart."""
    ranked = student.load().rank(["word3 word4"], [*["word1 word2"] * 40, "word5"] * 2)
    places = [each.place for each in ranked if each.candidate == "word1 word2"]
    assert places == sorted(places)
    assert len(places) == 80
    assert isinstance(ranked[0].score, float)


def test_only_the_newest_clicks_count(student: Served) -> None:
    """With the oldest instead, ranks would depend on what the user read years ago."""
    ranker = student.load()
    history = [f"word{number} word{number + 1}" for number in range(9)]
    shown = ["word20 word30", "word40 word41"]
    assert ranker.rank(history, shown) == ranker.rank(history[-6:], shown)
    assert ranker.rank(history, shown) != ranker.rank(history[:6], shown)


@pytest.mark.parametrize(
    ("history", "candidates", "error", "message"),
    [
        ([], [], ValueError, "at least 1 candidate, got none"),
        ([[], []], [["a b"], []], ValueError, "got none for user 1"),
        ([[]], [["a b"], ["c d"]], ValueError, "1 histories and 2 lists"),
        ("a b", ["a b"], TypeError, "history as a list of texts, got 'a b'"),
        (["a b"], "c d", TypeError, "candidates as a list of texts, got 'c d'"),
        (["a b"], ["c d", 7], TypeError, "candidates as a list of texts, got 7"),
        ([3], ["c d"], TypeError, "history as a list of texts, got 3"),
        (None, ["c d"], TypeError, "history as a list of texts, got None"),
        (["a b"], {"c d": 1}, TypeError, "candidates as a list of texts"),
        (["a b"], [["c d"]], TypeError, "history for user 0 as a list"),
        ([["a b"]], ["c d"], TypeError, r"history as a list of texts, got \['a b'\]"),
    ],
)
def test_an_invalid_request_is_refused(student, history, candidates, error, message) -> None:
    """A string is a sequence of strings, so its letters would be ranked."""
    with pytest.raises(error, match=message):
        student.load().rank(history, candidates)


def test_a_score_that_is_not_a_number_is_refused(student: Served) -> None:
    """NaN would be sorted to the end, unnoticed."""
    ranker = student.load()
    torch.nn.init.constant_(ranker.engine.model.user_encoder.pad_doc, float("nan"))
    with pytest.raises(ValueError, match="'word1 word2' with NaN"):
        ranker.rank([], ["word1 word2"])


@pytest.mark.parametrize("warm", [False, True])
def test_threads_that_share_a_recommender_get_their_own_answers(
    student: Served, warm: bool
) -> None:
    """A service ranks in many threads; vectors of another call's texts would stay for ever."""
    histories, candidates, _ = student.impressions()
    requests = [
        (words_of(clicked), words_of(shown))
        for clicked, shown in zip(histories, candidates, strict=True)
    ]
    serial = student.load()
    expected = [serial.rank(*request) for request in requests]
    shared = student.load()
    if warm:
        for request in requests:
            shared.rank(*request)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda each: shared.rank(*each), requests * 4))
    finally:
        sys.setswitchinterval(interval)
    assert_alike(got, expected * 4)
    assert_alike([shared.rank(*request) for request in requests], expected)


def assert_alike(got: list[list[ranking.Ranked]], expected: list[list[ranking.Ranked]]) -> None:
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(in_order_given(one), in_order_given(other), rtol=1e-4, atol=1e-5)


def test_a_recommender_survives_a_copy_and_a_pickle(student: Served) -> None:
    """An engine that scores in other processes sends it there; a lock cannot be sent."""
    there = student.load()
    again = pickle.loads(pickle.dumps(there))
    request = ["Word1 word2"], ["word3 word4", "word5"]
    assert again.rank(*request) == there.rank(*request)

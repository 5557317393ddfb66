"""Stage I of students with word vectors, under teachers that are language models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import naive
import numpy as np
import plain_losses as plain
import plain_texts
import pytest
import torch
from plain_users import part
from tiny import (
    DATASET,
    LAYERS,
    MAX_TITLE,
    OWN_SETTINGS,
    PLM_TEACHERS,
    WORDS,
    Tiny,
    run_of,
    student_of,
)

from recbole_tinynews.data.articles import Article, articles_for
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.data.title_body_articles import TitleBodyDataLoader, TitleBodyDataset
from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.files.tensors import load_into
from recbole_tinynews.model.stages.title_body import (
    TitleBodyMatcher,
    TitleBodyStudent,
    title_body_student,
)
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import NewsFactory
from recbole_tinynews.trainer import DistillationTrainer

WORDS_OF_TITLES = ["NRMS", "LateFusion", "TANR", "Fastformer", "CenNewsRec", "NAML", "MINER"]


class StageOne(NamedTuple):
    """A student in Stage I, untrained teachers, and what they read."""

    factory: NewsFactory
    config: NewsConfig
    data: TitleBodyDataset
    model: TitleBodyStudent
    teachers: FrozenTeachers

    def trainer(self) -> DistillationTrainer:
        return DistillationTrainer(self.config, self.model, self.teachers)

    def batch(self, samples: list[int]) -> Any:
        loader = TitleBodyDataLoader(self.config, self.data)
        return self.trainer().prepare(loader.collate_samples(np.array(samples)))


def write_corpus(folder: Path) -> Path:
    """Articles of which every third word is in no title of the data set."""
    random = np.random.default_rng(1)
    lines = []
    for number in range(25):
        title, body = (
            " ".join(f"unheard{word}" if word % 3 == 0 else WORDS[word] for word in words)
            for words in (random.integers(50, size=size) for size in (6, 30))
        )
        lines.append(f"C{number}\t{title}\t{body}")
    file = folder / "corpus.tsv"
    file.write_text("\n".join(lines) + "\n")
    return file


def make(tiny: Tiny, student: str = "NRMS", **settings: Any) -> StageOne:
    given = {"views": ["title"], "news_encoder": "words", "head_init": "random"}
    wide = {f"{stage}_teacher_news_dim": 24 for stage in ("post_train", "finetune")}
    config = tiny.config(student_of(student), **{**given, **PLM_TEACHERS, **wide, **settings})
    factory = run_of(config).factory
    own, theirs = (config.for_stage(f"post_train_{who}") for who in ("student", "teacher"))
    model_class = title_body_student(config.model_class)
    torch.manual_seed(0)
    model = factory.model(model_class, own)
    teachers = []
    for seed in range(config["num_teachers"]):
        torch.manual_seed(100 + seed)
        teachers.append(factory.model(TitleBodyMatcher, theirs))
    data = factory.data(model_class, own)
    return StageOne(factory, own, data, model, FrozenTeachers(teachers))


# ------------------------------------------------------------------------------------- by hand


class Read(NamedTuple):
    """The vectors of articles, by their places, as one encoder reads them."""

    titles: list[list[float]]
    bodies: list[list[float]]


def read_by_words(stage: StageOne, articles: list[Article]) -> Read:
    """NRMS's title encoder, word by word; a word without a place of its own has that of [UNK]."""
    weights = part(stage.model.state_dict(), "news_encoder.text_encoder")
    place = stage.data.tokenizer.get_vocab()

    def vector(text: str, longest: int) -> list[float]:
        ids = [place.get(word, 1) for word in text.split()[:longest]]
        return plain_texts.text_vector(weights, ids).tolist()

    longest = stage.config["max_body_length"]
    return Read(
        [vector(article.title, MAX_TITLE) for article in articles],
        [vector(article.body, longest) for article in articles],
    )


def read_by_plm(teacher: Any, stage: StageOne, articles: list[Article]) -> Read:
    """The whole language model of transformers on padded texts, and attention pooling."""
    of_teacher = stage.config.for_stage("post_train_teacher")

    def vectors(texts: list[str], longest: int) -> list[list[float]]:
        config = {**of_teacher.final_config_dict, "max_title_length": longest}
        reader = naive.NaivePLMNR(teacher, config, texts)
        return reader.encode_news(torch.arange(1, len(texts) + 1)).tolist()

    return Read(
        vectors([article.title for article in articles], MAX_TITLE),
        vectors([article.body for article in articles], stage.config["max_body_length"]),
    )


def scores(read: Read, body: int, titles: list[int]) -> list[float]:
    return [
        sum(a * b for a, b in zip(read.bodies[body], read.titles[t], strict=True)) for t in titles
    ]


@pytest.mark.parametrize("corpus", [False, True], ids=["own articles", "corpus"])
def test_the_loss_is_the_papers_under_teachers_that_read_word_pieces(
    tiny: Tiny, tmp_path: Path, corpus: bool
) -> None:
    """Teachers that read another article under the same number would be noise, not a target."""
    given = {"post_train_corpus": str(write_corpus(tmp_path))} if corpus else {}
    stage = make(tiny, teacher_num_hidden_layers=LAYERS, word_dropout=0.0, temperature=2.0, **given)
    stage.model.double()
    stage.teachers.double()
    batch = stage.batch([0, 3, 4, 7])
    articles = articles_for(stage.config, stage.factory.train)
    own = read_by_words(stage, articles)
    theirs = [read_by_plm(each, stage, articles) for each in stage.teachers.members]
    layers = stage.model.distillation.item_embedding.projections
    projections = [(layer.weight.tolist(), layer.bias.tolist()) for layer in layers]
    expected: dict[str, list[float]] = {"distillation": [], "embedding": [], "target": []}
    for body, titles in zip(batch[HISTORY][:, 0].tolist(), batch[CANDIDATES].tolist(), strict=True):
        body, titles = body - 1 - len(articles), [title - 1 for title in titles]
        assert articles[body].title == articles[titles[0]].title
        student = scores(own, body, titles)
        of_teachers = [scores(each, body, titles) for each in theirs]
        weight = plain.weights(of_teachers, 0)
        mixed = plain.mixed(of_teachers, weight)
        expected["distillation"].append(plain.soft_label(student, mixed, 2.0))
        of_titles = plain.embedding(
            [own.titles[title] for title in titles],
            [[each.titles[title] for title in titles] for each in theirs],
            weight,
            projections,
        )
        of_body = plain.embedding(
            [own.bodies[body]], [[each.bodies[body]] for each in theirs], weight, projections
        )
        expected["embedding"].append(of_titles + of_body)
        expected["target"].append(plain.cross_entropy(student, 0))
    losses = stage.model.calculate_loss(batch)
    assert losses._fields == (*expected,)
    found = {name: value.item() for name, value in losses._asdict().items()}
    assert found == pytest.approx({name: plain.mean(each) for name, each in expected.items()})


# --------------------------------------------------------------------------------- what it is


@pytest.mark.parametrize("student", WORDS_OF_TITLES)
def test_stage_two_takes_every_weight_of_the_news_encoder_over(tiny: Tiny, student: str) -> None:
    """Made in another way than the student's, it would be refused after hours, or misunderstood."""
    stage = make(tiny, student, **OWN_SETTINGS.get(student, {}))
    plain_settings = stage.config.for_stage("TinyNewsRec")
    after = stage.factory.model(plain_settings.model_class, plain_settings)
    torch.nn.init.zeros_(after.news_encoder.text_encoder.words.weight)
    load_into(after.news_encoder, stage.model.news_encoder.state_dict(), Path("stage one"))
    stage.model.eval()
    after.eval()
    first = stage.data.tokenizer(stage.factory.train.texts("title")[5])["input_ids"]
    assert first == after.news_encoder.tokens.row(5).tolist()
    place = next(
        row
        for row in range(1, stage.data.articles + 1)
        if stage.data.text_tokens.row(row).tolist() == first
    )
    torch.testing.assert_close(
        after.encode_news(torch.tensor([5])), stage.model.encode_news(torch.tensor([place]))
    )


def test_a_word_that_no_title_has_is_the_unknown_word_and_trains(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Words of a corpus would give Stage II word vectors that it has no words for."""
    own, other = make(tiny), make(tiny, post_train_corpus=str(write_corpus(tmp_path)))
    assert own.data.tokenizer.get_vocab() == other.data.tokenizer.get_vocab()
    unknown = (other.data.text_tokens.values == 1).mean()
    assert 0.2 < unknown < 0.5
    assert (own.data.text_tokens.values > 1).all()
    sum(other.model.calculate_loss(other.batch([0, 1]))).backward()
    gradient = other.model.news_encoder.text_encoder.words.weight.grad
    assert gradient[1].abs().sum() > 0
    assert gradient[0].abs().sum() == 0


def test_teachers_of_the_body_and_titles_get_no_gradient(tiny: Tiny) -> None:
    stage = make(tiny)
    sum(stage.model.calculate_loss(stage.batch([0, 1]))).backward()
    assert all(each.grad is None for each in stage.teachers.parameters())
    trained = [n for n, p in stage.model.named_parameters() if p.grad is not None]
    held = ("query.bias",)  # no score depends on it
    every = [n for n, _ in stage.model.named_parameters() if not n.endswith(held)]
    assert sorted(trained) == sorted(every)


def test_its_fingerprint_covers_all_words_of_the_data_set(tiny: Tiny, tmp_path: Path) -> None:
    """With the vectors of other words, Stage II could not take it over, or would mix words up."""
    stage = make(tiny)
    before = stage.factory.data_content(type(stage.model), stage.config)
    folder = shutil.copytree(tiny.data, tmp_path / "data")
    with (folder / DATASET / f"{DATASET}.item").open("a") as file:
        file.write("N99\tnews\tworld\tzyx zyy zyz\t\n")  # in no impression, and rarest
    more = make(Tiny(tiny.plm, folder))
    assert stage.data.content == more.data.content
    assert before != more.factory.data_content(type(more.model), more.config)
    plm = more.config.for_stage("post_train_teacher"), stage.config.for_stage("post_train_teacher")
    contents = {
        each.factory.data_content(TitleBodyMatcher, of_teacher)
        for each, of_teacher in zip((more, stage), plm, strict=True)
    }
    assert len(contents) == 1  # a language model's tokens are the same

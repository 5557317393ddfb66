"""Stage I of students with word vectors, under teachers that are language models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tiny import DATASET, MAX_TITLE, OWN_SETTINGS, PLM_TEACHERS, WORDS, Tiny, run_of, student_of

from recbole_tinynews.data.articles import articles_for
from recbole_tinynews.data.fields import CANDIDATES, HISTORY, TEACHERS
from recbole_tinynews.data.title_body_articles import TitleBodyDataLoader, TitleBodyDataset
from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.distillation.tinynewsrec_losses import StageOneDistillation
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


@pytest.mark.parametrize("corpus", [False, True], ids=["own articles", "corpus"])
def test_teachers_read_the_articles_of_their_student_under_the_same_numbers(
    tiny: Tiny, tmp_path: Path, corpus: bool
) -> None:
    """Teachers that read another article would be noise, not a target."""
    given = {"post_train_corpus": str(write_corpus(tmp_path))} if corpus else {}
    stage = make(tiny, **given)
    articles = articles_for(stage.config, stage.factory.train)
    limits = MAX_TITLE, stage.config["max_body_length"]
    for model, ends in ((stage.model, 0), *((each, 1) for each in stage.teachers.members)):
        vocabulary = model.tokenizer.get_vocab()
        assert not any(word.startswith("unheard") for word in vocabulary)  # Stage II has none
        for number, article in enumerate(articles, start=1):
            for row, text, limit in zip(
                (number, number + len(articles)), article, limits, strict=True
            ):
                read = model.tokenizer.convert_ids_to_tokens(model.news_encoder.tokens.row(row))
                words = [word if word in vocabulary else "[UNK]" for word in text.split()]
                assert read[ends : len(read) - ends] == words[: limit - 2 * ends]

    batch = stage.batch([0, 3, 4, 7])
    assert torch.equal(batch[HISTORY][:, 0] - len(articles), batch[CANDIDATES][:, 0])
    for teacher, labels in zip(stage.teachers.members, batch[TEACHERS], strict=True):
        bodies, titles = teacher.encode_news(batch[HISTORY]), teacher.encode_news(batch[CANDIDATES])
        torch.testing.assert_close(labels.scores, (titles @ bodies.mT)[..., 0])
    assert isinstance(stage.model.distillation, StageOneDistillation)


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

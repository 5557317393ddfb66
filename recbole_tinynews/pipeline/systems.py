"""Systems: functions from settings to the last stage of a training pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.encoder.plm_files import plm_size
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.model.alignednewsrec import AlignedNewsRec, NewsAligner, ZeroShotTeacher
from recbole_tinynews.model.article_reader import (
    has_plm,
    plm_source,
    reads_titles_by_plm,
    reads_words,
    views_of,
)
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.stages.joint_teachers import CoFinetunedTeachers
from recbole_tinynews.model.stages.masked_language_model import (
    MaskedLanguageModel,
    TaskLanguageModel,
)
from recbole_tinynews.model.stages.title_body import (
    TitleBodyMatcher,
    TitleBodyStudent,
    title_body_student,
)
from recbole_tinynews.model.stages.updated import updated
from recbole_tinynews.model.student import Student
from recbole_tinynews.pipeline import handover
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.stage import Copy, Stage, Start, in_order, last_copies
from recbole_tinynews.settings.values import refuse
from recbole_tinynews.trainer import DistillationTrainer, find_trainer

POST_TRAINED = Stage("post_train_teacher", TitleBodyMatcher)
PACKAGE = __name__.partition(".")[0]


def system(config: NewsConfig) -> Stage:
    """The last stage of the requested model; ``ValueError`` lists conflicting settings.

    Defined by its class or the nearest base: outside the package by a class method
    ``stages(config)``, inside by ``SYSTEMS``; otherwise the model is one stage.
    """
    last = _last_stage(config)
    mistakes = (
        mistake
        for stage in in_order(last)
        if issubclass(stage.model, NewsRecommender) and stage.folder is None
        for mistake in _mistakes(
            stage, config.for_stage(stage.name), "" if stage is last else f"{stage.name}_"
        )
    )
    refuse(f"The settings of {config['model']} don't fit together:", mistakes)
    return last


def _mistakes(stage: Stage, config: NewsConfig, prefix: str) -> Iterator[str]:
    """Errors that would otherwise only show in training."""
    yield from stage.model.conflicting_settings(config, prefix)
    yield from _too_many_layers(config, prefix)
    if not (prefix or config["popularity"] == "none" or issubclass(stage.model.reads, NewsDataset)):
        yield "popularity=added expects a recommender that reads clicks. Set popularity=none"
    if config["num_hidden_layers"] == 0 and config["student_init"] == "teacher":
        yield (
            "student_init=teacher expects a student with layers to start from, got "
            "num_hidden_layers=0. Set student_init=plm"
        )
    who, given = f"Stage {stage.name} of {stage.model.__name__}", len(stage.teachers)
    taught = issubclass(find_trainer(stage.model), DistillationTrainer)
    if given and not taught:
        yield (
            f"{who} has {given} teachers and expects a model that learns from them, got one whose "
            "trainer is no DistillationTrainer. Derive it from Student, or leave the teachers out"
        )
    elif taught and not given:
        yield f"{who} expects teachers to learn from, got none. Name them in the Stage"
    elif given > 1 and issubclass(stage.model, Student):  # a single one may combine several
        expected = stage.model.number_of_teachers(config)
        if given != expected:
            yield (
                f"{who} expects {expected} teachers, as its number_of_teachers says, got {given}. "
                "Set num_teachers, or override number_of_teachers"
            )


def _too_many_layers(config: NewsConfig, prefix: str) -> Iterator[str]:
    """More layers to train than the language model has, unless by default."""
    asked, given = config["finetune_layers"], config.external_config_dict
    if (
        not has_plm(config)
        or asked == "all"
        or config["update_from"]  # as in the first training, where it may have been a default
        or not {f"{prefix}finetune_layers", "finetune_layers"} & given.keys()
    ):
        return
    layers = plm_size(plm_source(config)).layers
    if asked > layers:
        yield (
            f"{prefix}finetune_layers expects at most the {layers} layers of {config['plm']}, got "
            f"{asked}. Write all to train them and the embeddings"
        )


def _last_stage(config: NewsConfig) -> Stage:
    model_class = config.model_class
    if config["update_from"]:
        in_use = Stage("in_use", model_class, folder=Path(config["update_from"]))
        start = Start(handover.put_all, (in_use,), complete=True)
        return _last(config, start, (in_use,), updated(model_class))  # under its old self
    for base in model_class.__mro__:
        if "stages" in vars(base):
            return model_class.stages(config)
        if base.__name__ in SYSTEMS and base.__module__.partition(".")[0] == PACKAGE:
            return SYSTEMS[base.__name__](config)
    return Stage(model_class.__name__, model_class)


def pretrained(before: Stage, put: Callable[..., None], config: NewsConfig) -> Stage:
    """A stage without clicks, then finetuning of its last weights, with as many layers."""
    own = config["num_hidden_layers"]
    trained = config.for_stage(before.name)["num_hidden_layers"]
    if own != trained:
        shown = ["~" if number is None else number for number in (own, trained)]
        raise ValueError(
            f"{config['model']} finetunes the layers that {before.name} has trained, and expects "
            f"as many there, got num_hidden_layers={shown[0]} and {shown[1]} in {before.name}. "
            f"Set teacher_num_hidden_layers={shown[0]}."
        )
    return _last(config, start=Start(put, (before,)))


def tiny_newsrec(config: NewsConfig) -> Stage:
    """Four stages (Tiny-NewsRec, EMNLP 2022, section 3).

    Post-train the teacher and keep its last M copies; post-train the student under them (Stage I);
    finetune each copy; finetune the student under the finetuned copies (Stage II).

    The paper's ablations: without ``stage_one`` the student starts Stage II with Stage I's initial
    weights; without ``stage_two`` it is finetuned alone, as a PLM-NR; without both it is a PLM-NR
    of the student's size, and no teacher is trained unless ``student_init`` asks for its start.

    Only teachers that are language models reading titles are post-trained, and so no vectors of a
    file. Under them, Stage I also
    post-trains a student that reads titles by words.
    """
    copies, start = last_copies(POST_TRAINED, config["num_teachers"]), None
    model_class = config.model_class
    post_trained = reads_titles_by_plm(config.for_stage("finetune_teacher"))
    if config["student_init"] == "teacher":
        if not (post_trained and reads_titles_by_plm(config)):
            raise ValueError(
                f"student_init=teacher of {config['model']} expects language models that read "
                "titles, whose first layers a student can start with, got student or teachers "
                "with news_encoder=words, vectors or other views. Set student_init=plm."
            )
        start = Start(handover.put_first_layers, (POST_TRAINED,))
    if config["stage_one"] and post_trained and views_of(config) == [TITLE]:
        matcher = title_body_student(model_class) if reads_words(config) else TitleBodyStudent
        student = Stage(
            "post_train_student", matcher, start=start, teachers=tuple(reversed(copies))
        )
        start = Start(handover.put_news_encoder, (student,))
    if not config["stage_two"]:
        return _last(config, start, model=PLMNR)
    if post_trained:
        return _last(config, start=start, teachers=_finetuned(copies))
    teachers = tuple(Stage("finetune_teacher", PLMNR, number=copy.back) for copy in copies)
    return _last(config, start=start, teachers=teachers)


def ensemble_teacher(config: NewsConfig) -> Stage:
    """The mean of Tiny-NewsRec's post-trained and finetuned teachers."""
    return _last(config, teachers=_finetuned(last_copies(POST_TRAINED, config["num_teachers"])))


def tinybert(config: NewsConfig) -> Stage:
    """Three stages: post-train a teacher, finetune its last copies, distil them."""
    copies = last_copies(POST_TRAINED, config.model_class.number_of_teachers(config))
    return _last(config, teachers=_finetuned(copies))


def mtbert(config: NewsConfig) -> Stage:
    """Three stages (MT-BERT, Findings of ACL 2021): copies of a teacher, finetuned together.

    The student starts with their shared pooling, dense layer and user encoder; ``ValueError`` if
    its settings give these another shape.
    """
    name = config.model_class.__name__
    teachers = config.for_stage("finetune_teacher")
    for shape in ("news_dim", "query_dim", "news_pooling", "user_encoder"):
        if teachers[shape] != config[shape]:
            raise ValueError(
                f"{name} expects a student with its teachers' {shape}, got {config[shape]} for "
                f"{teachers[shape]}: it starts with their pooling, dense layer and user encoder. "
                f"Set {shape} and finetune_teacher_{shape} alike."
            )
    copies = last_copies(POST_TRAINED, config.model_class.number_of_teachers(config))
    together = Stage(
        "finetune_teacher", CoFinetunedTeachers, start=Start(handover.put_copies, copies)
    )
    return _last(config, start=Start(handover.put_heads, (together,)), teachers=(together,))


def newsbert(config: NewsConfig) -> Stage:
    """Two stages (NewsBERT, Findings of EMNLP 2021; post-training is Tiny-NewsRec's).

    Post-train the teacher; then train its last copy, or for NewsBERT-MT several, jointly with the
    student on clicks.
    """
    from_plm = config["student_init"] == "plm"
    put = handover.put_pooling_and_dense if from_plm else handover.put_all_but_user_encoder
    copies = last_copies(POST_TRAINED, config.model_class.number_of_teachers(config))
    return _last(config, start=Start(put, (POST_TRAINED,)), teachers=tuple(reversed(copies)))


def aligned_newsrec(config: NewsConfig) -> Stage:
    """Three stages (our own system): finetune teachers, which also read abstracts.

    Then align the student's news vectors with theirs on every article, and train it on clicks under
    them, starting with the first teacher's user encoder.
    """
    stages = (config, config.for_stage("align_student"))
    dims = {bool(each["matryoshka_dims"]) for each in stages}
    layers = {frozenset(each["matryoshka_layers"] or ()) for each in stages}
    if len(dims) > 1 or len(layers) > 1:
        raise ValueError(
            f"{config['model']} expects matryoshka_dims in both of its stages or in none, since "
            "they choose the axes of vectors, and the same matryoshka_layers in both. Set "
            "align_student_matryoshka_dims and align_student_matryoshka_layers too."
        )
    return _last(config, *_aligned(config["num_teachers"]))


def boosted_student(config: NewsConfig) -> Stage:
    """Gradient boosting on the text scores and vectors of an ``AlignedNewsRec`` that is trained."""
    start, teachers = _aligned(config.for_stage("train_student")["num_teachers"])
    student = Stage("train_student", AlignedNewsRec, start=start, teachers=teachers)
    return _last(config, Start(handover.put_encoders, (student,)))


def _aligned(num_teachers: int) -> tuple[Start, tuple[Stage, ...]]:
    """Finetuned teachers, and the start of a student that was aligned with them."""
    teachers = tuple(
        Stage("finetune_teacher", PLMNR, number=number) for number in range(num_teachers)
    )
    aligned = Stage(
        "align_student",
        NewsAligner,
        start=Start(handover.put_user_encoder, teachers[:1]),
        teachers=teachers,
    )
    return Start(handover.put_aligned, (aligned,)), teachers


def zero_shot_student(config: NewsConfig) -> Stage:
    """A student aligned with the untrained language model, without clicks (our own system)."""
    return _last(config, teachers=(Stage("zero_shot_teacher", ZeroShotTeacher),))


def _finetuned(copies: tuple[Copy, ...]) -> tuple[Stage, ...]:
    """Finetuned copies; the last is number 0, so that runs of fewer teachers reuse it."""
    return tuple(
        Stage(
            "finetune_teacher",
            PLMNR,
            start=Start(handover.put_news_encoder, (copy,)),
            number=copy.back,
        )
        for copy in copies
    )


def _last(
    config: NewsConfig,
    start: Start | None = None,
    teachers: tuple[Stage | Copy, ...] = (),
    model: type | None = None,
) -> Stage:
    """The last stage, named after the requested model, whichever class it trains."""
    name = config.model_class.__name__
    return Stage(name, model or config.model_class, start=start, teachers=teachers)


SYSTEMS: dict[str, Callable[[Any], Stage]] = {
    "PLMNRDAPT": partial(  # on the corpus
        pretrained, Stage("pretrain_teacher", MaskedLanguageModel), handover.put_language_model
    ),
    "PLMNRTAPT": partial(  # on the data set's own articles
        pretrained, Stage("pretrain_teacher", TaskLanguageModel), handover.put_language_model
    ),
    # title-body matching first (Tiny-NewsRec, section 3)
    "PLMNRDP": partial(pretrained, POST_TRAINED, handover.put_news_encoder),
    "TinyNewsRec": tiny_newsrec,
    "EnsembleTeacher": ensemble_teacher,
    "AlignedNewsRec": aligned_newsrec,
    "BoostedStudent": boosted_student,
    "ZeroShotStudent": zero_shot_student,
    "TinyBERT": tinybert,
    "TinyBERTMT": tinybert,
    "MTBERT": mtbert,
    "NewsBERT": newsbert,
    "NewsBERTMT": newsbert,
}

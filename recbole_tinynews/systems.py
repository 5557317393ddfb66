"""The systems: which stage follows which, and what each hands on to the next."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from recbole_tinynews.artifact import Artifact, Weights
from recbole_tinynews.model.cofinetunedteachers import CoFinetunedTeachers
from recbole_tinynews.model.inner_state_student import InnerStateStudent
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.title_body import TitleBodyMatcher, TitleBodyStudent
from recbole_tinynews.stages import Run, StageReached, Start
from recbole_tinynews.trainer.weights import load_into


def train_system(run: Run, model_class: type) -> Artifact:
    """All stages of the system, the model asked for last; or those up to ``run.last_stage``."""
    bases = (base.__name__ for base in model_class.__mro__)
    system = next((SYSTEMS[name] for name in bases if name in SYSTEMS), one_stage)
    try:
        return system(run, model_class)
    except StageReached:
        return run.artifacts[-1]


def one_stage(run: Run, model_class: type) -> Artifact:
    """A model that stands on no other."""
    return run.train_stage(model_class.__name__, model_class)


def tiny_newsrec(run: Run, model_class: type) -> Artifact:
    """Four stages (Tiny-NewsRec, EMNLP 2022, section 3).

    Post-train the teacher and keep its last M copies; post-train the student under them (Stage I);
    finetune each of them; finetune the student under the finetuned ones (Stage II).

    The paper's ablations: without ``stage_one`` the student enters Stage II as it would have
    entered Stage I; without ``stage_two`` it is finetuned alone, as a PLM-NR; without both it is a
    PLM-NR of the student's size, and no teacher is made that nobody asks.
    """
    stage_one, stage_two = run.config["stage_one"], run.config["stage_two"]
    from_teacher = run.config["student_init"] == "teacher"
    if not (stage_one or stage_two or from_teacher):
        return run.train_stage(model_class.__name__, PLMNR)
    before = teacher = run.train_stage("post_train_teacher", TitleBodyMatcher)
    start = Start(teacher.weights, put_first_layers) if from_teacher else None
    copies = teacher.copies(run.config["num_teachers"]) if stage_one or stage_two else []
    if stage_one:
        before = run.train_stage(
            "post_train_student", TitleBodyStudent, after=[teacher], start=start, teachers=copies
        )
        start = Start(before.weights, put_news_encoder)
    finetuned = finetuned_teachers(run, teacher, copies) if stage_two else []
    return run.train_stage(
        model_class.__name__,
        model_class if stage_two else PLMNR,
        after=[before, *finetuned],
        start=start,
        teachers=[artifact.weights for artifact in finetuned],
    )


def finetuned_teachers(run: Run, teacher: Artifact, copies: Sequence[Weights]) -> list[Artifact]:
    """Each copy of the post-trained teacher, finetuned on clicks."""
    return [
        run.train_stage(
            "finetune_teacher",
            PLMNR,
            after=[teacher],
            start=Start(copy, put_news_encoder),
            number=number,
        )
        # the last copy is number 0, so that fewer teachers are the last of more
        for number, copy in enumerate(reversed(copies))
    ]


def tinybert(run: Run, model_class: type[InnerStateStudent]) -> Artifact:
    """Three stages: post-train a teacher, finetune its last copies, distil them into the student.

    TinyBERT has one teacher, TinyBERT-MT as many as Tiny-NewsRec; they are Tiny-NewsRec's own.
    """
    teacher = run.train_stage("post_train_teacher", TitleBodyMatcher)
    copies = teacher.copies(model_class.number_of_teachers(run.config))
    finetuned = finetuned_teachers(run, teacher, copies)
    return run.train_stage(
        model_class.__name__,
        model_class,
        after=finetuned,
        teachers=[artifact.weights for artifact in finetuned],
    )


def mtbert(run: Run, model_class: type[InnerStateStudent]) -> Artifact:
    """Three stages (MT-BERT, Findings of ACL 2021): copies of a teacher, finetuned together.

    The student starts with the pooling, dense layer and user encoder that they share.

    Raises:
        ValueError: the student's settings give those another shape.
    """
    teachers = run.config.for_stage("finetune_teacher")
    for name in ("news_dim", "query_dim", "news_pooling", "user_encoder"):
        if teachers[name] != run.config[name]:
            raise ValueError(
                f"{model_class.__name__} expects a student with its teachers' {name}, got "
                f"{run.config[name]} for {teachers[name]}: it starts with their pooling, dense "
                f"layer and user encoder. Set {name} and finetune_teacher_{name} alike."
            )
    teacher = run.train_stage("post_train_teacher", TitleBodyMatcher)
    last, *others = reversed(teacher.copies(model_class.number_of_teachers(run.config)))
    together = run.train_stage(
        "finetune_teacher",
        CoFinetunedTeachers,
        after=[teacher],
        start=Start(last, put_copies, others),
    )
    return run.train_stage(
        model_class.__name__,
        model_class,
        after=[together],
        start=Start(together.weights, put_heads),
        teachers=[together.weights],
    )


SYSTEMS: dict[str, Callable[[Run, Any], Artifact]] = {
    "TinyNewsRec": tiny_newsrec,
    "TinyBERT": tinybert,
    "TinyBERTMT": tinybert,
    "MTBERT": mtbert,
}


def put_news_encoder(model: NewsRecommender, weights: Weights) -> None:
    """Start with the whole news encoder of an earlier stage; every weight must be there."""
    prefix = "news_encoder."
    of_encoder = {n: v for n, v in weights.load().items() if n.startswith(prefix)}
    load_into(model.news_encoder, of_encoder, weights.source, prefix)


def put_copies(model: CoFinetunedTeachers, *copies: Weights) -> None:
    """Start each teacher from a copy of its own; the shared layers are those of the first."""
    for teacher, copy in reversed([*zip(model.teachers, copies, strict=True)]):
        put_news_encoder(teacher, copy)


def put_heads(model: NewsRecommender, weights: Weights) -> None:
    """Start with the teachers' pooling, dense layer and user encoder, not with their layers."""
    loaded = weights.load()
    for name in ("news_encoder.pooling", "news_encoder.dense", "user_encoder"):
        module = operator.attrgetter(name)(model)
        if module is not None:  # mean and cls pool without weights
            load_into(module, loaded, weights.source, f"{name}.")


def put_first_layers(model: NewsRecommender, weights: Weights) -> None:
    """Start with as many of the teacher's first layers as the student has (``student_init``).

    Pooling and dense layer stay random, as they do behind the layers of the plain language model.
    """
    plm, prefix = model.news_encoder.plm, "news_encoder.plm."
    wanted = {f"{prefix}{name}" for name in plm.state_dict()}
    kept = {name: value for name, value in weights.load().items() if name in wanted}
    load_into(plm, kept, weights.source, prefix)

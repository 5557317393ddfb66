"""The systems: which stage follows which, and what each hands on to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recbole_tinynews.artifact import Artifact, Weights
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


SYSTEMS: dict[str, Callable[[Run, type], Artifact]] = {"TinyNewsRec": tiny_newsrec}


def put_news_encoder(model: NewsRecommender, weights: Weights) -> None:
    """Start with the whole news encoder of an earlier stage; every weight must be there."""
    prefix = "news_encoder."
    of_encoder = {n: v for n, v in weights.load().items() if n.startswith(prefix)}
    load_into(model.news_encoder, of_encoder, weights.source, prefix)


def put_first_layers(model: NewsRecommender, weights: Weights) -> None:
    """Start with as many of the teacher's first layers as the student has (``student_init``).

    Pooling and dense layer stay random, as they do behind the layers of the plain language model.
    """
    plm, prefix = model.news_encoder.plm, "news_encoder.plm."
    wanted = {f"{prefix}{name}" for name in plm.state_dict()}
    kept = {name: value for name, value in weights.load().items() if name in wanted}
    load_into(plm, kept, weights.source, prefix)

"""The systems: which stage follows which, and what each hands on to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recbole_tinynews.artifact import Artifact, Weights
from recbole_tinynews.model.masked_language_model import MaskedLanguageModel, TaskLanguageModel
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


def plmnr_dapt(run: Run, model_class: type) -> Artifact:
    """Masked-language-model training on the corpus, then finetuning."""
    return _pretrained(run, model_class, MaskedLanguageModel)


def plmnr_tapt(run: Run, model_class: type) -> Artifact:
    """Masked-language-model training on the task's own news, then finetuning."""
    return _pretrained(run, model_class, TaskLanguageModel)


def _pretrained(run: Run, model_class: type, pretraining: type[MaskedLanguageModel]) -> Artifact:
    _check_layers(run, "pretrain_teacher")
    before = run.train_stage("pretrain_teacher", pretraining)
    start = Start(before.weights, put_language_model)
    return run.train_stage(model_class.__name__, model_class, after=[before], start=start)


def plmnr_dp(run: Run, model_class: type) -> Artifact:
    """Title-body matching, then finetuning of what it ended with (Tiny-NewsRec, section 3)."""
    _check_layers(run, "post_train_teacher")
    before = run.train_stage("post_train_teacher", TitleBodyMatcher)
    start = Start(before.weights, put_news_encoder)  # which are those of the last copy
    return run.train_stage(model_class.__name__, model_class, after=[before], start=start)


def ensemble_teacher(run: Run, model_class: type) -> Artifact:
    """The teachers of Tiny-NewsRec, post-trained and finetuned as there, and their mean."""
    teacher = run.train_stage("post_train_teacher", TitleBodyMatcher)
    finetuned = finetuned_teachers(run, teacher, teacher.copies(run.config["num_teachers"]))
    return run.train_stage(
        model_class.__name__,
        model_class,
        after=finetuned,
        teachers=[artifact.weights for artifact in finetuned],
    )


SYSTEMS: dict[str, Callable[[Run, type], Artifact]] = {
    "EnsembleTeacher": ensemble_teacher,
    "PLMNRDAPT": plmnr_dapt,
    "PLMNRDP": plmnr_dp,
    "PLMNRTAPT": plmnr_tapt,
    "TinyNewsRec": tiny_newsrec,
}


def _check_layers(run: Run, stage: str) -> None:
    """Refuse to train other layers on texts than those that are finetuned afterwards."""
    own = run.config["num_hidden_layers"]
    before = run.stage_config(stage)["num_hidden_layers"]
    if own != before:
        shown = ["~" if number is None else number for number in (own, before)]
        raise ValueError(
            f"{run.config['model']} finetunes the layers that {stage} has trained, and expects as "
            f"many there, got num_hidden_layers={shown[0]} and {shown[1]} in {stage}. "
            f"Set teacher_num_hidden_layers={shown[0]}."
        )


def put_news_encoder(model: NewsRecommender, weights: Weights) -> None:
    """Start with the whole news encoder of an earlier stage; every weight must be there."""
    prefix = "news_encoder."
    of_encoder = {n: v for n, v in weights.load().items() if n.startswith(prefix)}
    load_into(model.news_encoder, of_encoder, weights.source, prefix)


def put_language_model(model: NewsRecommender, weights: Weights) -> None:
    """Start with the language model of an earlier stage; every weight must be there."""
    load_into(model.news_encoder.plm, weights.load(), weights.source, "news_encoder.plm.")


def put_first_layers(model: NewsRecommender, weights: Weights) -> None:
    """Start with as many of the teacher's first layers as the student has (``student_init``).

    Pooling and dense layer stay random, as they do behind the layers of the plain language model.
    """
    plm, prefix = model.news_encoder.plm, "news_encoder.plm."
    wanted = {f"{prefix}{name}" for name in plm.state_dict()}
    kept = {name: value for name, value in weights.load().items() if name in wanted}
    load_into(plm, kept, weights.source, prefix)

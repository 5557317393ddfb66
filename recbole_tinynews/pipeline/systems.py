"""The systems: which stage follows which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recbole_tinynews.model.cofinetunedteachers import CoFinetunedTeachers
from recbole_tinynews.model.inner_state_student import InnerStateStudent
from recbole_tinynews.model.masked_language_model import MaskedLanguageModel, TaskLanguageModel
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.student import paired_layers
from recbole_tinynews.model.title_body import TitleBodyMatcher, TitleBodyStudent
from recbole_tinynews.pipeline.artifact import Artifact, Weights
from recbole_tinynews.pipeline.handover import (
    put_all_but_user_encoder,
    put_copies,
    put_first_layers,
    put_heads,
    put_language_model,
    put_news_encoder,
    put_pooling_and_dense,
)
from recbole_tinynews.pipeline.stages import Run, StageReached, Start


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


def _check_pairs(run: Run, teacher: str) -> None:
    """Refuse a teacher too shallow for ``layer_mapping`` before it is trained, not after."""
    paired_layers(run.config, run.stage_config(teacher))


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


def ensemble_teacher(run: Run, model_class: type) -> Artifact:
    """The teachers of Tiny-NewsRec, post-trained and finetuned as there, and their mean."""
    return _under_finetuned(run, model_class, run.config["num_teachers"])


def tinybert(run: Run, model_class: type[InnerStateStudent]) -> Artifact:
    """Three stages: post-train a teacher, finetune its last copies, distil them into the student.

    TinyBERT has one teacher, TinyBERT-MT as many as Tiny-NewsRec; they are Tiny-NewsRec's own.
    """
    _check_pairs(run, "finetune_teacher")
    return _under_finetuned(run, model_class, model_class.number_of_teachers(run.config))


def _under_finetuned(run: Run, model_class: type, teachers: int) -> Artifact:
    teacher = run.train_stage("post_train_teacher", TitleBodyMatcher)
    finetuned = finetuned_teachers(run, teacher, teacher.copies(teachers))
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
    _check_pairs(run, "finetune_teacher")
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


def newsbert(run: Run, model_class: type) -> Artifact:
    """Two stages (NewsBERT, Findings of EMNLP 2021; the teacher's post-training is Tiny-NewsRec's).

    Post-train the teacher; then one run trains it and its student together on clicks.
    """
    return _jointly(run, model_class, teachers=1)


def newsbert_mt(run: Run, model_class: type) -> Artifact:
    """As ``newsbert``, with the last M copies of the post-trained teacher."""
    return _jointly(run, model_class, run.config["num_teachers"])


def _jointly(run: Run, model_class: type, teachers: int) -> Artifact:
    _check_pairs(run, "post_train_teacher")
    teacher = run.train_stage("post_train_teacher", TitleBodyMatcher)
    from_plm = run.config["student_init"] == "plm"
    put = put_pooling_and_dense if from_plm else put_all_but_user_encoder
    return run.train_stage(
        model_class.__name__,
        model_class,
        after=[teacher],
        start=Start(teacher.weights, put),
        teachers=teacher.copies(teachers),
    )


SYSTEMS: dict[str, Callable[[Run, Any], Artifact]] = {
    "PLMNRDAPT": plmnr_dapt,
    "PLMNRTAPT": plmnr_tapt,
    "PLMNRDP": plmnr_dp,
    "TinyNewsRec": tiny_newsrec,
    "EnsembleTeacher": ensemble_teacher,
    "TinyBERT": tinybert,
    "TinyBERTMT": tinybert,
    "MTBERT": mtbert,
    "NewsBERT": newsbert,
    "NewsBERTMT": newsbert_mt,
}

"""Names of the package's stages, each with a yaml file in ``properties/stage/``."""

from __future__ import annotations

POST_TRAIN_TEACHER = "post_train_teacher"
POST_TRAIN_STUDENT = "post_train_student"
PRETRAIN_TEACHER = "pretrain_teacher"
FINETUNE_TEACHER = "finetune_teacher"
ALIGN_STUDENT = "align_student"

OF_TEACHERS = "_teacher"  # suffix of the stages that train teachers

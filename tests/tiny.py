"""A language model and a data set small enough for unit tests, written to disk."""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

from recbole_tinynews.data.dataloader import ClickDataLoader, ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    HISTORY,
    IMPRESSION,
    IMPRESSION_SIZE,
)
from recbole_tinynews.distillation.teachers import FrozenTeachers, Teachers
from recbole_tinynews.model.paper.newsbert import NewsBERT
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.stages.joint_teachers import JointTeachers
from recbole_tinynews.model.student import Student
from recbole_tinynews.pipeline.artifact import Artifact
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import NewsFactory
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.systems import SYSTEMS
from recbole_tinynews.settings.registry import find_model, has_language_model
from recbole_tinynews.trainer import DistillationTrainer, find_trainer

DATASET = "tiny"
WORDS = [f"word{number}" for number in range(50)]
LAYERS, HIDDEN, MAX_TITLE = 3, 32, 12
NEWS, EMPTY_TITLE, LONG_TITLE, SHORT_TITLE = 40, 1, 2, 3  # the last three are news ids
CATEGORIES, SUBCATEGORIES = ("news", "sports", "health"), ("world", "", "football", "diet")

SETTINGS: dict[str, Any] = {
    "use_gpu": False,
    "show_progress": False,
    "use_cache": False,
    "num_hidden_layers": 2,
    "finetune_layers": 1,
    "plm_dropout": 0.0,
    "head_init": "random",
    "news_dim": 16,
    "query_dim": 8,
    "max_title_length": MAX_TITLE,
    "max_abstract_length": 8,
    "max_body_length": 20,
    "history_length": 6,
    "negatives": 3,
    "epochs": 1,
    "learning_rate": 1e-3,
    "train_batch_size": 8,
    "eval_batch_size": 4,
}
VECTORS, VECTOR_DIM = "vectors.txt", 8  # beside the atomic files
OWN_SETTINGS: dict[str, dict[str, Any]] = {
    "CenNewsRec": {"head_dim": 4},
    "ZeroShotStudent": {"news_dim": HIDDEN},  # the language model's, as its teachers' there
    "ZeroShotWords": {"word_vectors": VECTORS, "word_dim": VECTOR_DIM},
}
START_PRETRAINED = (
    "BoostedStudent",
    "AlignedNewsRec",
    "ZeroShotPLM",
    "ZeroShotStudent",
    "ZeroShotWords",
)  # by definition
STAGE_SETTINGS: dict[str, Any] = {
    "num_teachers": 2,
    "teacher_checkpoint_interval": 2,
    **{
        f"{stage}_{name}": value
        for stage in ("post_train_teacher", "post_train_student")
        for name, value in {
            "negatives": 3,
            "max_title_length": MAX_TITLE,
            "train_batch_size": 8,
            "learning_rate": 1e-2,
            "plm_learning_rate": 1e-2,
            "finetune_layers": 1,
            "epochs": 1,
            "max_steps": 4,
        }.items()
    },
    "pretrain_teacher_train_batch_size": 8,
    "pretrain_teacher_learning_rate": 1e-2,
    "pretrain_teacher_plm_learning_rate": 1e-2,
    "pretrain_teacher_finetune_layers": 1,
    "pretrain_teacher_max_steps": 4,
    "finetune_teacher_learning_rate": 1e-3,
    "finetune_teacher_max_steps": 3,
    "max_steps": 3,
}


IMPRESSION_SETTINGS: dict[str, Any] = {  # of recommenders without a language model
    "use_gpu": False,
    "show_progress": False,
    "history_length": 6,
    "eval_batch_size": 4,
}
STOCK_SETTINGS: dict[str, Any] = {
    "use_gpu": False,
    "show_progress": False,
    "epochs": 1,
    "history_length": 6,
    "train_batch_size": 32,
    "eval_batch_size": 16,
}


# ------------------------------------------------------------------------------ language models


def _sizes(special: dict[str, str], layers: int, hidden_size: int) -> dict[str, Any]:
    return {
        "vocab_size": len(special) + len(WORDS),
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "initializer_range": 0.2,
    }


def write_bert(
    folder: Path, layers: int = LAYERS, seed: int = 0, hidden_size: int = HIDDEN
) -> Path:
    """A BERT with random weights large enough to tell titles apart, and its fast tokenizer."""
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    config = BertConfig(**_sizes(special, layers, hidden_size))
    return _write(folder, BertModel, config, list(special.values()), special, seed)


def write_roberta(folder: Path, layers: int = LAYERS) -> Path:
    """Write a random RoBERTa: its padding has id 1, and its positions start after that."""
    special = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config = RobertaConfig(**_sizes(special, layers, HIDDEN), **ids)
    return _write(folder, RobertaModel, config, list(special.values()), special, 0)


def write_t5(folder: Path, layers: int = LAYERS) -> Path:
    """Write a random T5, of which the encoder is used."""
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    config = T5Config(
        vocab_size=len(special) + len(WORDS),
        d_model=HIDDEN,
        d_kv=16,
        d_ff=64,
        num_layers=layers,
        num_heads=2,
        pad_token_id=0,
        decoder_start_token_id=0,
    )
    return _write(folder, T5Model, config, list(special.values()), special, 0)


def _write(
    folder: Path,
    model_class: type[PreTrainedModel],
    config: Any,
    first: list[str],
    special: dict[str, str],
    seed: int,
) -> Path:
    torch.manual_seed(seed)
    model = model_class(config)
    for parameter in model.parameters():  # biases and norms too: zeros would hide a missing one
        torch.nn.init.normal_(parameter, std=0.2)
    for name, parameter in model.named_parameters():
        if name.endswith("LayerNorm.weight"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate([*first, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(special[end], vocabulary[special[end]]) for end in ("cls", "sep")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special['cls']} $A {special['sep']}", special_tokens=ends
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{kind}_token": token for kind, token in special.items()}
    ).save_pretrained(folder)
    return folder


# ------------------------------------------------------------------------------------- data set


def titles() -> list[str]:
    """A title for each article; the first three are empty, longer than any limit, and one word."""
    random = np.random.default_rng(5)
    made = [" ".join(random.choice(WORDS, random.integers(2, 9))) for _ in range(NEWS)]
    made[EMPTY_TITLE - 1] = ""
    made[LONG_TITLE - 1] = " ".join(random.choice(WORDS, 30))
    made[SHORT_TITLE - 1] = WORDS[0]
    return made


def random_vectors() -> dict[str, np.ndarray]:
    """A vector for each word."""
    random = np.random.default_rng(0)
    return {word: random.normal(0.2, 0.4, VECTOR_DIM) for word in WORDS}


def write_dataset(folder: Path, labelled_test: bool = True, clicks: int = 1) -> Path:
    """Write atomic files into ``folder/tiny``, with so many clicks in an impression.

    The first impression has no history, the second only one click, the third no click.
    """
    random = np.random.default_rng(3)
    place = folder / DATASET
    place.mkdir(parents=True)
    vectors = random_vectors()
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in vectors.items()]
    (place / VECTORS).write_text("".join(lines), encoding="utf-8")
    rows = ["item_id:token\tcategory:token\tsubcategory:token\ttitle:token_seq\tabstract:token_seq"]
    for number, title in enumerate(titles(), start=1):
        abstract = f"{title} {' '.join(random.choice(WORDS, 10))}".strip()
        category, subcategory = CATEGORIES[number % 3], SUBCATEGORIES[number % 4]
        rows.append(f"N{number}\t{category}\t{subcategory}\t{title}\t{abstract}")
    (place / f"{DATASET}.item").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for split, impressions in (("train", 40), ("valid", 14), ("test", 14)):
        lines = [
            "impression_id:token\tuser_id:token\ttimestamp:float\thistory:token_seq\t"
            "candidates:token_seq\tlabels:float_seq"
        ]
        for row in range(impressions):
            history = random.choice(NEWS, random.integers(1, 9)) + 1
            candidates = random.choice(NEWS, random.integers(3, 7), replace=False) + 1
            labels = np.zeros(len(candidates), dtype=int)
            labels[candidates.argsort()[:clicks]] = 1
            if row == 0:
                history = history[:0]
            elif row == 1:
                candidates, labels = candidates[:1], np.ones(1, dtype=int)
            elif row == 2:
                labels[:] = 0
            shown = "" if split == "test" and not labelled_test else " ".join(map(str, labels))
            lines.append(
                f"{split}-{row}\tU{row % 7}\t{1573000000 + row}\t"
                f"{' '.join(f'N{n}' for n in history)}\t{' '.join(f'N{n}' for n in candidates)}\t"
                f"{shown}"
            )
        (place / f"{DATASET}.{split}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


# ------------------------------------------------------------------------- what tests put together


def status_of(main: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> object:
    """The exit status of a command, which ends the process after a mistake."""
    try:
        return main(arguments) or 0
    except SystemExit as ended:
        return ended.code


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


_WORLDS: dict[tuple[Any, ...], tuple[World, torch.Tensor]] = {}


class Tiny(NamedTuple):
    """The folders of the tiny language model and data set, and helpers that build on them."""

    plm: Path
    data: Path

    def settings(self, model: str | type = "PLMNR", **settings: Any) -> dict[str, Any]:
        """Settings of a small run; ``settings`` override them."""
        name = model if isinstance(model, str) else model.__name__
        if not has_language_model(find_model(model)):
            return {**IMPRESSION_SETTINGS, "data_path": str(self.data), **settings}
        is_student_of = isinstance(model, type) and model.__module__ == __name__
        stages = dict(STAGE_SETTINGS) if name in SYSTEMS or is_student_of else {}
        if name in START_PRETRAINED:
            stages["head_init"] = "pretrained"
        places = {"plm": str(self.plm), "data_path": str(self.data)}
        return {**SETTINGS, **places, **stages, **OWN_SETTINGS.get(name, {}), **settings}

    def stock_settings(self, **settings: Any) -> dict[str, Any]:
        """Settings of a small run of one of RecBole's own models."""
        return {**STOCK_SETTINGS, "data_path": str(self.data), **settings}

    def config(self, model: str | type = "PLMNR", **settings: Any) -> NewsConfig:
        """The checked settings."""
        return NewsConfig(model, DATASET, config_dict=self.settings(model, **settings))

    def stage(self, model: str, name: str, of: type, **settings: Any) -> tuple[Any, Any, Any]:
        """Config, data and the untrained model of a stage of a system."""
        config = self.config(model, **settings)
        staged = config.for_stage(name)
        data = run_of(config).factory.data(of, staged)
        torch.manual_seed(0)
        return staged, data, of(staged, data)

    def run(self, model: str | type = "PLMNR", **settings: Any) -> Run:
        """A run whose stages are not trained yet."""
        return run_of(self.config(model, **settings))

    def world(self, model: str | type = "PLMNR", **settings: Any) -> World:
        """Config, data and an untrained model, which are the same at every call."""
        config = self.config(model, **settings)
        train, valid, test = NewsDataset(config).build()
        torch.manual_seed(1)
        model = config.model_class(config, train)
        if isinstance(model, NewsRecommender):
            model.start_heads(config, train)
            if issubclass(model.reads, NewsDataset):
                model.start_time(config, train)
        return World(config, train, valid, test, model)

    def same_world(self, model: str | type = "PLMNR", **settings: Any) -> World:
        """A copy of a world that is made once, for tests that leave its data as they are."""
        key = (*self, model, repr(sorted(settings.items())))
        if key not in _WORLDS:
            _WORLDS[key] = self.world(model, **settings), torch.get_rng_state()
        world, random = _WORLDS[key]
        torch.set_rng_state(random)
        data = {id(part): part for part in (world.train, world.valid, world.test)}
        return copy.deepcopy(world, data)


class World(NamedTuple):
    """A recommender and the data that it reads."""

    config: NewsConfig
    train: NewsDataset
    valid: NewsDataset
    test: NewsDataset
    model: NewsRecommender

    def clicks(self) -> ClickDataLoader:
        """Batches of training clicks."""
        return ClickDataLoader(self.config, self.train)

    def impressions(self) -> ImpressionDataLoader:
        """Batches of validation impressions."""
        return ImpressionDataLoader(self.config, self.valid)

    def shown(self, rows: list[int]) -> Interaction:
        """The chosen impressions of the validation."""
        return self.impressions().collate_fn(rows)[0]

    def clicked(self, samples: list[int]) -> Interaction:
        """The chosen clicks of the training, labelled by teachers where the model is a student."""
        return self.trainer().prepare(self.clicks().collate_fn(samples))

    def teachers(self) -> FrozenTeachers:
        """As many untrained teachers as the model asks for, no two of them alike."""
        config = self.config.for_stage("finetune_teacher")
        made = []
        for seed in range(self.number_of_teachers()):
            torch.manual_seed(100 + seed)
            made.append(PLMNR(config, self.train))
            made[-1].start_heads(config, self.train)
        return FrozenTeachers(made)

    def joint_teachers(self) -> JointTeachers:
        """Teachers that train with the model, no two of them alike."""
        assert isinstance(self.model, NewsBERT)
        count = self.number_of_teachers()
        teachers = self.model.make_teachers(self.config, self.train, count)
        for seed, teacher in enumerate(teachers.members):
            torch.manual_seed(100 + seed)
            for parameter in teacher.news_encoder.text_encoder.plm.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
        return teachers

    def number_of_teachers(self) -> int:
        """The number of teachers that the model is trained with."""
        if isinstance(self.model, Student):
            return self.model.number_of_teachers(self.config)
        return self.config["num_teachers"]

    def trainer(self, folder: Path | None = None, teachers: Teachers | None = None) -> Any:
        """The trainer that the model gets, with teachers where it needs them."""
        trainer_class = find_trainer(type(self.model))
        if not issubclass(trainer_class, DistillationTrainer):
            return trainer_class(self.config, self.model, folder)
        if teachers is None:
            joint = isinstance(self.model, NewsBERT)
            teachers = self.joint_teachers() if joint else self.teachers()
        return trainer_class(self.config, self.model, teachers, folder)


# of a user's yaml beside a student that reads otherwise
PLM_TEACHERS = {
    f"{stage}_teacher_{name}": value
    for stage in ("post_train", "finetune")
    for name, value in {"news_encoder": "plm", "views": ["title"]}.items()
}


@cache
def student_of(name: str) -> type[TinyNewsRec]:
    """Tiny-NewsRec over another recommender, as a user writes it in a class."""
    if name == "PLMNR":
        return TinyNewsRec
    return type(f"{name}Student", (TinyNewsRec, find_model(name)), {"__module__": __name__})


def run_of(config: NewsConfig) -> Run:
    """A run of a news recommender whose stages are not trained yet."""
    return Run(NewsFactory(config, NewsDataset(config)))


def finished(run: Run) -> list[Artifact]:
    """The artifacts of a run, in the order in which the stages were finished."""
    return list(run.artifacts.values())


def impressions_of(histories: list[list[int]], candidates: list[list[int]]) -> Interaction:
    """An evaluation batch with the given news ids; histories are padded in front.

    Counters of what is read now, in four windows, depend on the candidate alone.
    """
    width = max(map(len, histories))
    shown = torch.tensor([news for row in candidates for news in row])
    return Interaction(
        {
            "user_id": torch.zeros(len(histories), dtype=torch.long),
            IMPRESSION: torch.arange(len(histories)),
            IMPRESSION_SIZE: torch.tensor([len(shown) for shown in candidates]),
            HISTORY: torch.tensor([[0] * (width - len(h)) + h for h in histories]),
            CANDIDATES: shown,
            # as many counters as any recommender reads
            CANDIDATE_FEATURES: (shown[:, None] * torch.arange(1, 33)) % 23.0,
        }
    )


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, of all events in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }

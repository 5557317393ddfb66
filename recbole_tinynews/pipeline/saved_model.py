"""Builds the model of a finished stage from an untrusted folder, without running its code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch

from recbole_tinynews.encoder.plm_files import check_sizes, check_vocabulary, plm_size
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.words import load_word_tokenizer
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import CATEGORIES, PADDING
from recbole_tinynews.files.lines import read_json, untrusted
from recbole_tinynews.files.tensors import check_weights, load_into, load_weights
from recbole_tinynews.model.alignednewsrec import AlignedNewsRec
from recbole_tinynews.model.article_reader import reads_vectors, reads_words
from recbole_tinynews.model.interface import ImpressionRecommender
from recbole_tinynews.model.matryoshka import Sizes, of_layers
from recbole_tinynews.model.recommender import CATEGORY_NAMES, NewsRecommender
from recbole_tinynews.pipeline.artifact import PLM, SETTINGS_FILE, WEIGHTS, read_finished
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.settings.table import parse_key, seen_by

NEEDED = {"dataset": str, "ITEM_ID_FIELD": str, "USER_ID_FIELD": str, "history_length": int}
LONGEST, MOST_CLICKS = 100_000, 10_000  # text in tokens; history
USUAL_DIM = 1_000  # always allowed, since unused parts have settings but no weights
# of recommenders, whose modules are imported for a folder that names them
ROOMS = ("recbole_tinynews.model.", "recbole_tinynews.zoo.")
OF_LOSSES = "distillation."  # weights that only the training of a student uses
AS_SAVED = {"word_vectors": None}  # part of the saved weights
READS_NO_TEXT = (
    "{} holds one of RecBole's own models, which reads no text. Rank the ids of its data set in "
    "Python: recbole_tinynews.load(folder).rank."
)


class SavedSettings(dict[str, Any]):
    """Settings of a finished stage, and what was saved of its data set.

    What was ``None`` is not saved. ``identity`` is the digest of all that rankings depend on;
    ``tokenizer`` is that of word vectors; ``categories`` are names by field, in id order, with
    padding.
    """

    identity: str = ""
    tokenizer: Any = None
    categories: Mapping[str, Sequence[str]] = {}

    @classmethod
    def of(cls, folder: Path) -> SavedSettings:
        """Settings of the stage in ``folder``; raises as ``read_finished``."""
        read, identity = read_finished(folder)
        settings = cls(read)
        settings.identity = identity
        return settings

    def __missing__(self, name: str) -> None:
        return None

    def for_stage(self, stage: str) -> SavedSettings:
        """Settings as an earlier stage had them, such as an ensemble's teachers."""
        read = {"teacher_num_hidden_layers": None, **self}  # None: all
        by_key = {parse_key(name, [stage]): value for name, value in read.items()}
        return SavedSettings({**seen_by(stage, by_key), **AS_SAVED})


def open_model(
    folder: Path,
    settings: SavedSettings,
    model: type[NewsRecommender] | None = None,
    device: str | torch.device = "cpu",
    layers: int | None = None,
    dim: int | None = None,
) -> NewsRecommender:
    """The model of a finished stage, which ranks articles that are given by their texts.

    ``settings`` are those of the folder, and become those of the model; the other arguments are as
    for ``load``. Raises ``ValueError`` as ``load`` does, and for one of RecBole's own models.
    """
    if recbole_class(settings["model_class"], model) is not None:
        raise ValueError(READS_NO_TEXT.format(folder))
    if reads_vectors(settings):
        raise ValueError(
            f"{folder} must read texts to rank given articles, got one whose articles are vectors "
            f"of {settings['vectors']}. Load a student of it."
        )
    words = reads_words(settings)
    with untrusted(folder / SETTINGS_FILE):
        model_class = _model_class(settings["model_class"], model, folder)
        _check_sizes(settings, folder)
    if not words:
        check_sizes(str(folder / PLM), folder / WEIGHTS)
    places = {"plm": str(folder / PLM), "data_path": str(folder), "device": device_of(device)}
    settings.update(**places, **AS_SAVED)
    if layers is not None or dim is not None:
        layers, dim = _chosen_size(settings, model_class, layers, dim)
        settings.identity = content_key([settings.identity, f"{layers} layers, {dim} entries"])
        settings.update(num_hidden_layers=layers, matryoshka_layers=None, matryoshka_dims=None)
    settings.categories = _categories(folder / PLM / CATEGORY_NAMES)
    with untrusted(folder):  # settings and files of the language model may contradict each other
        if words:
            settings.tokenizer = load_word_tokenizer(folder / PLM)
        recommender = _built(model_class, settings, folder)
    with untrusted(folder / WEIGHTS):
        every = load_weights(folder / WEIGHTS)
        weights = {n: value for n, value in every.items() if not n.startswith(OF_LOSSES)}
        if layers is not None:
            weights = of_layers(weights, layers)
            weights = {name: weights[name] for name in recommender.state_dict()}
        load_into(recommender, weights, folder / WEIGHTS)
    if isinstance(recommender, AlignedNewsRec) and dim is not None:
        recommender.cut_vectors(dim)
    with untrusted(folder):
        for part in recommender.modules():
            if isinstance(part, TextEncoder):
                check_vocabulary(recommender.tokenizer, part.plm, str(folder / PLM))
        return recommender.to(settings["device"])


def _built(
    model_class: type[NewsRecommender], settings: SavedSettings, folder: Path
) -> NewsRecommender:
    """A recommender from its settings; ``ValueError`` if its class needs the data set."""
    try:
        return model_class(cast("Settings", settings), None)
    except (AttributeError, TypeError) as problem:
        if "NoneType" not in str(problem):
            raise
        raise ValueError(
            f"{folder} is a {model_class.__name__}, which asks for its data set when it is built "
            f"({problem}). Move that to read_articles(config, dataset), or say so in "
            "why_not_loaded."
        ) from problem


def _chosen_size(
    settings: SavedSettings,
    model_class: type[NewsRecommender],
    layers: int | None,
    dim: int | None,
) -> tuple[int, int]:
    """Layers and size of the vectors; ``ValueError`` if it was not trained for them."""
    if not issubclass(model_class, AlignedNewsRec):
        raise ValueError(
            f"load expects a recommender of several sizes for layers={layers} and dim={dim}, got a "
            f"{model_class.__name__}. Train an AlignedNewsRec with matryoshka_layers or "
            "matryoshka_dims."
        )
    depth, width = plm_size(settings["plm"]).layers, model_class.news_dim(settings)
    trained = Sizes.of(settings, depth, width)
    chosen = depth if layers is None else layers, width if dim is None else dim
    for name, number, numbers in zip(("layers", "dim"), chosen, trained, strict=True):
        if type(number) is not int or number not in numbers:
            raise ValueError(
                f"load expects {name} in {', '.join(map(str, numbers))}, for which "
                f"{model_class.__name__} was trained, got {number!r}. Choose one of these, or "
                "train it with other matryoshka_layers and matryoshka_dims."
            )
    return chosen


def _categories(file: Path) -> dict[str, list[str]]:
    """Category names by field."""
    with untrusted(file):
        names = read_json(file)
        if not all(isinstance(name, str) for field in CATEGORIES for name in names[field]):
            raise ValueError("it holds something else than names")
        return {field: [PADDING, *names[field]] for field in CATEGORIES}


def _check_sizes(settings: Mapping[str, Any], folder: Path) -> None:
    """Refuse what would fill the memory, or fail at every request; the rest is as written."""
    wrong = [
        f"{n} is no {kind.__name__}" for n, kind in NEEDED.items() if type(settings[n]) is not kind
    ]
    if wrong := wrong or [*_unfit_sizes(settings, folder)]:
        raise ValueError(
            f"{folder / SETTINGS_FILE} expects what was written there: {'; '.join(wrong)}. Rerun "
            "the command that made it, which trains it again, or copy the folder again."
        )


def _unfit_sizes(settings: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Sizes below 0 or above what the files allow, found before memory is allocated for them."""
    shapes = check_weights(folder / WEIGHTS)
    largest = max((size for shape in shapes for size in shape), default=0)
    # hidden layers have square weights
    squares = [shape[0] for shape in shapes if len({*shape}) == 1 < len(shape)]
    limits = {"dim": max(largest, USUAL_DIM), "teachers": len(shapes), "length": LONGEST}
    limits["rounds"] = max(largest // 100, USUAL_DIM)  # a tree has more numbers
    limits |= {"hidden": max([USUAL_DIM, *squares]), "layers": USUAL_DIM}
    most = {name: limits.get(name.rpartition("_")[2]) for name in settings}
    most["history_length"] = MOST_CLICKS
    if not reads_words(settings):
        with untrusted(folder / PLM / "config.json"):
            most["num_hidden_layers"] = plm_size(str(folder / PLM)).layers
    for name, limit in most.items():
        value = settings[name]
        if limit is None or not isinstance(value, int) or 0 <= value <= limit:
            continue
        of_file = f" ({PLM}/config.json)" if name == "num_hidden_layers" else ""
        bound = f"at most {limit}{of_file}" if value > 0 else "at least 0"
        yield f"{name} expects {bound}, got {value}"


def recbole_class(name: str, model: type | None) -> type | None:
    """The class of one of RecBole's own models, if the folder holds one."""
    module, _, class_name = name.rpartition(".")
    if model is None and module.startswith("recbole.model."):
        from recbole_tinynews.settings.registry import find_model, recbole_models

        model = find_model(class_name) if class_name in recbole_models() else None
    if not isinstance(model, type) or issubclass(model, ImpressionRecommender):
        return None
    return model if model.__name__ == class_name else None


def _model_class(name: str, model: Any, folder: Path) -> type[NewsRecommender]:
    """The class that an untrusted folder names: ours, the given one, or one already imported."""
    module, _, class_name = name.rpartition(".")
    if model is None:
        if module.startswith(ROOMS):
            with suppress(ModuleNotFoundError):
                importlib.import_module(module)
        model = getattr(sys.modules.get(module), class_name, None)
    if model is None:
        raise ValueError(
            f"{folder} was made by {name}, a class that is not imported, and load imports none "
            f"that a folder names. Import it and pass it: load(folder, model={class_name}). On "
            f"the command line: recbole-tinynews --import {module} ..."
        )
    is_named = isinstance(model, type) and model.__name__ == class_name
    if not (is_named and issubclass(model, NewsRecommender)):
        raise ValueError(
            f"{folder} was made by {name}, which must be a subclass of NewsRecommender that reads "
            f"texts, got {model}. Pass that class, load(folder, model={class_name}), or evaluate "
            "it where it was trained."
        )
    if why_not := model.why_not_loaded:
        raise ValueError(
            f"{folder} is a {class_name}, which {why_not}. It can be evaluated and distilled, but "
            "not loaded: train a student under it, or another recommender."
        )
    if not any((folder / PLM / file).is_file() for file in ("config.json", "tokenizer.json")):
        raise ValueError(
            f"{folder} lacks {PLM}/, configuration and tokenizer of its language model. A stage of "
            "post-training has none, since it ranks no news: load the folder of the last stage. "
            "Any other has lost it, or is of an earlier version: rerun the command that made it "
            "with --fresh."
        )
    return model


def device_of(device: str | torch.device) -> torch.device:
    """A device that computes; ``ValueError`` if there is none of that name here."""
    try:
        torch.empty(1, device=device).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        why = str(problem).partition("\n")[0][:200]
        raise ValueError(
            f"device={device} expects one that computes here, such as cpu or cuda, and torch says: "
            f"{why}. Choose another one."
        ) from problem
    return torch.device(device)

"""Loads a finished recommender from an untrusted folder, without running or importing its code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
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
from recbole_tinynews.model.matryoshka import Sizes, of_layers
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import (
    ARTIFACT_FORMAT,
    CATEGORY_NAMES,
    FORMAT_KEY,
    METRICS_FILE,
    PLM,
    SETTINGS_FILE,
    WEIGHTS,
    broken_files,
    identity_of,
    read_settings,
)
from recbole_tinynews.processes.group import device_of
from recbole_tinynews.serving.engine import Engine, ModelEngine, engine_of
from recbole_tinynews.serving.exported import FILE, load_export
from recbole_tinynews.serving.live_counters import LiveCounters
from recbole_tinynews.serving.ranker import Ranker
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.settings.registry import (
    MODELS,
    declared_settings,
    files_of,
    find_model,
    has_language_model,
    is_news_model,
    recbole_models,
)
from recbole_tinynews.settings.table import parse_key, seen_by, unfit_value
from recbole_tinynews.settings.values import ANY_TEXT, list_of

NEEDED = {"dataset": str, "ITEM_ID_FIELD": str, "USER_ID_FIELD": str, "history_length": int}
LONGEST = 100_000  # history in clicks, or text in tokens
USUAL_DIM = 1_000  # always allowed, since unused parts have settings but no weights
UNREAD = {SETTINGS_FILE}  # settings may be edited, and are validated
OF_LOSSES = "distillation."  # weights that only the training of a student uses
AS_SAVED = {"word_vectors": None}  # part of the saved weights


class SavedSettings(dict[str, Any]):
    """Settings of a finished stage, and what was saved of its data set.

    What was ``None`` is not saved. ``tokenizer`` is that of word vectors; ``categories`` are names
    by field, in id order, with padding.
    """

    tokenizer: Any = None
    categories: Mapping[str, Sequence[str]] = {}

    def __missing__(self, name: str) -> None:
        return None

    def for_stage(self, stage: str) -> SavedSettings:
        """Settings as an earlier stage had them, such as an ensemble's teachers."""
        read = {"teacher_num_hidden_layers": None, **self}  # None: all
        by_key = {parse_key(name, [stage]): value for name, value in read.items()}
        return SavedSettings({**seen_by(stage, by_key), **AS_SAVED})


def load(
    folder: str | Path,
    model: type[NewsRecommender] | None = None,
    data_path: str | Path | None = None,
    device: str | torch.device = "cpu",
    store: str | Path | None = None,
    layers: int | None = None,
    dim: int | None = None,
) -> Ranker:
    """Load the finished recommender in ``folder``.

    One of RecBole's own models ranks only news ids of its data set (``RecBoleRanker``).

    Args:
        folder: ``<checkpoint_dir>/<dataset>/<Model>-<fingerprint>``, or an export
            (``recbole-tinynews export``), which runs on the CPU.
        model: the recommender's class, if it is your own and not imported yet.
        data_path: contains the data set's folder, for RecBole's own models (default: ``dataset``,
            then embedded data sets).
        device: device to compute on.
        store: file or ``postgresql://`` URL of events to count, made if missing, for recommenders
            trained with ``popularity``. ``counters.catch_up()`` counts other processes'.
        layers: number of layers, one of ``matryoshka_layers``, for which it was trained.
        dim: size of its vectors, one of ``matryoshka_dims``: the first entries, normalised.

    Raises:
        FileNotFoundError: no such folder, or no artifact in the folder.
        ValueError: unfinished, damaged, of another format or an unimported class, or no news
            ranker; not a store, or not trained with ``popularity`` or for this size.
    """
    folder, has_size = Path(folder), layers is not None or dim is not None
    if (folder / FILE).is_file():
        if has_size:
            raise ValueError(f"{folder} is an export, which has one size. Export another size.")
        engine: Engine = load_export(folder)
    else:
        settings = _read_settings(folder)
        stock = _recbole_class(settings["model_class"], model)
        if stock is not None and not has_size:
            from recbole_tinynews.serving.recbole_ranker import load_recbole

            return load_recbole(folder, stock, settings, data_path, device)  # type: ignore[return-value]
        engine = _trained(folder, settings, model, device, layers, dim)
    ranker = Ranker(engine)
    if store is not None:
        if engine.counting is None:
            raise ValueError(f"{folder} was trained without popularity, and counts no events.")
        from recbole_tinynews.serving.store import Store  # of an extra

        ranker.counters = LiveCounters(Store(store), [engine.counting])
    return ranker


def load_reader(folder: Path, **how: Any) -> Ranker:
    """``load`` for recommenders that read text; ``ValueError`` for RecBole's own models."""
    ranker = load(folder, **how)
    if not isinstance(ranker, Ranker):
        raise ValueError(
            f"{folder} holds one of RecBole's own models, which reads no text. Rank the ids of its "
            "data set in Python: recbole_tinynews.load(folder).rank."
        )
    return ranker


def load_trained(folder: Path, use: str, **how: Any) -> ModelEngine:
    """The engine of a recommender that reads text; ``ValueError`` for an export too."""
    engine = load_reader(folder, **how).engine
    if not isinstance(engine, ModelEngine):
        raise ValueError(
            f"{use} expects the folder of a finished recommender, and {folder} is an export. Pass "
            "the folder that it was made from."
        )
    return engine


def _read_settings(folder: Path) -> SavedSettings:
    """The settings of a finished stage, after a check of all its files."""
    names = WEIGHTS, SETTINGS_FILE, METRICS_FILE
    missing = [name for name in names if not (folder / name).is_file()]
    if len(missing) == len(names):
        inside = sorted(path.parent.name for path in folder.glob(f"*/{METRICS_FILE}"))
        hint = f" Did you mean one of those in it: {', '.join(inside)}?" if inside else ""
        raise FileNotFoundError(
            f"load expects the folder of a finished stage, with {', '.join(names)}, and "
            f"{folder.absolute()} has none of them.{hint}"
        )
    if missing:
        raise ValueError(
            f"{folder} is unfinished: {' and '.join(missing)} are missing. Run the same command "
            "again: it resumes where it was stopped."
        )
    place = folder.resolve()
    own = [place]
    if place.parent.name == "snapshots":  # of the hub's cache, whose files are links to its blobs
        own.append(place.parent.parent / "blobs")
    for file in (*map(folder.joinpath, names), *folder.glob(f"{PLM}/**/*")):
        if not any(map(file.resolve().is_relative_to, own)):
            raise ValueError(
                f"{folder} expects files of its own, and {file.relative_to(folder)} is a link out "
                "of it, which is not read. Copy what it links to into the folder."
            )
    with untrusted(folder / METRICS_FILE):
        broken = [name for name in broken_files(folder) if name not in UNREAD]
    if broken:
        raise ValueError(
            f"{folder} expects its files as they were written, and {', '.join(broken)} "
            f"{'are' if len(broken) > 1 else 'is'} missing or changed: it would rank wrongly. "
            "Rerun the command that made it, which trains it again, or copy the folder again."
        )
    settings = SavedSettings(read_settings(folder))
    if settings[FORMAT_KEY] != ARTIFACT_FORMAT:
        raise ValueError(
            f"{folder / SETTINGS_FILE} has format {str(settings[FORMAT_KEY])[:20]}, and this "
            f"version of recbole_tinynews reads format {ARTIFACT_FORMAT}: its scores would differ. "
            "Rerun the command that made it with --fresh, or install the version that made it."
        )
    return settings


def _trained(
    folder: Path,
    settings: SavedSettings,
    model: type[NewsRecommender] | None,
    device: str | torch.device,
    layers: int | None,
    dim: int | None,
) -> ModelEngine:
    if reads_vectors(settings):
        raise ValueError(
            f"{folder} must read texts to rank given articles, got one whose articles are vectors "
            f"of {settings['vectors']}. Load a student of it."
        )
    identity, words = identity_of(folder), reads_words(settings)
    with untrusted(folder / SETTINGS_FILE):
        model_class = _model_class(settings["model_class"], model, folder)
        _check_settings(settings, model_class, folder)
    if not words:
        check_sizes(str(folder / PLM), folder / WEIGHTS)
    places = {"plm": str(folder / PLM), "data_path": str(folder), "device": device_of(device)}
    settings.update(**places, **AS_SAVED)
    if layers is not None or dim is not None:
        layers, dim = _chosen_size(settings, model_class, layers, dim)
        identity = content_key([identity, f"{layers} layers, {dim} entries"])
        settings.update(num_hidden_layers=layers, matryoshka_layers=None, matryoshka_dims=None)
    settings.categories = _categories(folder / PLM / CATEGORY_NAMES)
    with untrusted(folder / PLM):  # its files may contradict each other
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
    with untrusted(folder / PLM):
        for part in recommender.modules():
            if isinstance(part, TextEncoder):
                check_vocabulary(recommender.tokenizer, part.plm, str(folder / PLM))
        return engine_of(recommender.to(settings["device"]), settings, identity)


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
        if number not in numbers:
            raise ValueError(
                f"load expects {name} in {', '.join(map(str, numbers))}, for which "
                f"{model_class.__name__} was trained, got {number}. Choose one of these, or train "
                "it with other matryoshka_layers and matryoshka_dims."
            )
    return chosen


def _categories(file: Path) -> dict[str, list[str]]:
    """Category names by field."""
    with untrusted(file):
        names = read_json(file)
        if not all(list_of(ANY_TEXT, may_be_empty=True).holds(names[f]) for f in CATEGORIES):
            raise ValueError("it holds something else than names")
        return {field: [PADDING, *names[field]] for field in CATEGORIES}


def _check_settings(
    settings: Mapping[str, Any], model_class: type[NewsRecommender], folder: Path
) -> None:
    """Refuse invalid values: settings may be edited, or come from a stranger."""
    stages, defaults = files_of(model_class).stages, declared_settings(model_class)
    wrong = [
        f"{name} {mistake}"
        for name, value in settings.items()
        if (plain := parse_key(name, stages).name) in defaults
        and (mistake := unfit_value(plain, value, defaults[plain]))
    ]
    wrong += [f"{n} is missing" for n, kind in NEEDED.items() if not isinstance(settings[n], kind)]
    if wrong := wrong or [*_too_large(settings, folder)]:
        raise ValueError(
            f"{folder / SETTINGS_FILE} expects what was written there: {'; '.join(wrong)}. Rerun "
            "the command that made it, which trains it again, or copy the folder again."
        )


def _too_large(settings: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Settings larger than the files allow, found before memory is allocated for them."""
    shapes = check_weights(folder / WEIGHTS)
    largest = max((size for shape in shapes for size in shape), default=0)
    # hidden layers have square weights
    squares = [shape[0] for shape in shapes if len({*shape}) == 1 < len(shape)]
    limits = {"dim": max(largest, USUAL_DIM), "teachers": len(shapes), "length": LONGEST}
    limits["rounds"] = max(largest // 100, USUAL_DIM)  # a tree has more numbers
    limits["hidden"] = max([USUAL_DIM, *squares])
    most = {name: limits.get(name.rpartition("_")[2]) for name in settings}
    if not reads_words(settings):
        with untrusted(folder / PLM / "config.json"):
            most["num_hidden_layers"] = plm_size(str(folder / PLM)).layers
    for name, limit in most.items():
        value = settings[name]
        if limit is not None and isinstance(value, int) and value > limit:
            of_file = f" ({PLM}/config.json)" if name == "num_hidden_layers" else ""
            yield f"{name} expects at most {limit}{of_file}, got {value}"


def _recbole_class(name: str, model: type | None) -> type | None:
    """The class of one of RecBole's own models, if the folder holds one."""
    module, _, class_name = name.rpartition(".")
    if model is None and module.startswith("recbole.model.") and class_name in recbole_models():
        model = find_model(class_name)
    if isinstance(model, type) and model.__name__ == class_name and not is_news_model(model):
        return model
    return None


def _model_class(name: str, model: Any, folder: Path) -> type[NewsRecommender]:
    """The class that an untrusted folder names: ours, the given one, or one already imported."""
    module, _, class_name = name.rpartition(".")
    is_ours = module.startswith("recbole_tinynews.")
    if model is None and is_ours:
        model = find_model(class_name) if class_name in MODELS else None
        if model is None:
            raise _without_plm(folder)  # a stage of post-training
    elif model is None:
        model = getattr(sys.modules.get(module), class_name, None)
    if model is None:
        raise ValueError(
            f"{folder} was made by {name}, a class that is not imported, and load imports none "
            f"that a folder names. Import it and pass it: load(folder, model={class_name})."
        )
    is_named = isinstance(model, type) and model.__name__ == class_name
    if not (is_named and has_language_model(model)):
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
        raise _without_plm(folder)
    return model


def _without_plm(folder: Path) -> ValueError:
    return ValueError(
        f"{folder} lacks {PLM}/, configuration and tokenizer of its language model. A stage of "
        "post-training has none, since it ranks no news: load the folder of the last stage. "
        "Any other has lost it, or is of an earlier version: rerun the command that made it with "
        "--fresh."
    )

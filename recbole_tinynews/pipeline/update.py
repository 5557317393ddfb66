"""``recbole-tinynews update``: train a finished recommender further on newer clicks."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from recbole_tinynews.cli import command_parser, one_line_errors, slow_imports
from recbole_tinynews.convert.readers.cells import MILLISECONDS, iso
from recbole_tinynews.evaluation.metrics import is_count
from recbole_tinynews.files.versions import rollback, switch
from recbole_tinynews.files.whole import LockHeldError, exclusive_lock

# Default settings of an update; all others are those of the first training
DEFAULTS: dict[str, Any] = {
    "epochs": 1,
    **dict.fromkeys(("max_steps", "eval_steps", "warmup_steps")),
}
WITHOUT_CLICKS = "ZeroShotStudent"  # of texts alone: all clicks are new to it
# training settings of articles, which are not those of clicks
OF_TEXTS = {"learning_rate", "plm_learning_rate", "train_batch_size", "num_teachers", "eval_step"}
SLOWER = 3  # divisor of learning rates, chosen on validation impressions (benchmarks/record)


class NoNewClicksError(ValueError):
    """The data has no clicks to learn from since those that the recommender knows."""


class Update(NamedTuple):
    """An update: its folder, and metrics on the newest impressions before and after."""

    folder: Path
    before: dict[str, float]
    after: dict[str, float]
    is_better: bool  # at least as good, by ``valid_metric``


def update(
    folder: str | Path,
    data: str | Path,
    settings: Sequence[str] = (),
    model: type | None = None,
    since: float | None = None,
) -> Update:
    """Train the finished recommender in ``folder`` on newer clicks, with itself as the teacher.

    ``data`` is the folder of a data set with at least the impressions since its training; the
    newest are for validation, and earlier ones feed the counters and the term of ``popularity``.
    ``settings`` are ``--key=value``; ``model`` is its class if it is your own; ``since`` is the
    first UTC second to learn from (default: after the newest click that it was trained on).

    If ``folder`` is a symbolic link, and the update ranks the validation impressions no worse, the
    link then points to the update, and ``folder.1``, ``folder.2`` ... to earlier versions.

    Raises:
        NoNewClicksError: nothing to learn from; known before anything is loaded.
        ValueError: wrong settings, no recommender that can be updated, or a link that was moved
            meanwhile: what it points to then was not compared.
        FileNotFoundError: no such folder or data set.
        LockHeldError: the link is being updated by another process.
    """
    link = Path(folder)
    if not link.is_symlink():
        return _updated(link.resolve(), Path(data), settings, model, since)
    with exclusive_lock(link.absolute(), "updating it", wait=False):
        in_use = link.resolve()
        done = _updated(in_use, Path(data), settings, model, since)
        if done.is_better:
            switch(link, done.folder, in_use)
    return done


def _updated(
    folder: Path, data: Path, settings: Sequence[str], model: type | None, since: float | None
) -> Update:
    """The update of a folder, compared with it."""
    with slow_imports():
        from recbole_tinynews.pipeline.config import NewsConfig
        from recbole_tinynews.pipeline.quick_start import prepared
    from recbole_tinynews.pipeline.artifact import METRICS_FILE, NEWEST, read_metrics, read_settings

    if since is None and (folder / METRICS_FILE).is_file():
        newest = read_metrics(folder).get(NEWEST)
        if read_settings(folder)["model_class"].endswith(f".{WITHOUT_CLICKS}"):
            newest = -1
        elif not newest:
            raise ValueError(
                f"{folder} does not record its newest training click. Pass the first UTC second to "
                "learn from: --since=SECONDS."
            )
        since = newest + 1
    train = data / f"{data.absolute().name}.train.inter"
    if since is not None and train.is_file() and not _has_clicks(train, since):
        first = iso(int(since)) if 0 <= since < MILLISECONDS else f"UTC second {since:.0f}"
        raise NoNewClicksError(f"No clicks since {first} in {train}, nothing to do.")
    names = [each.lstrip("-").partition("=")[0] for each in settings]
    if ignored := [name for name in names if name in ("model", "dataset", "data_path")]:
        raise ValueError(
            f"update trains the model of its folder on its data, got --{ignored[0]} too. Leave it "
            "out."
        )
    model_class, given = settings_of(folder, model)
    given |= {"data_path": str(data.absolute().parent), "train_since": since}
    config = NewsConfig(model_class, data.name, config_dict=given, command_line=settings)
    with prepared(config) as (run, stages):
        if run.factory.valid is None:
            raise ValueError(
                f"update expects validation impressions in {data}, to compare both versions by. "
                "Convert the data set with --valid=0.1, its newest tenth."
            )
        made = run.make(*stages).folder
        before, after = (_metrics(run, stage) for stage in stages)
    decides = config["valid_metric"].lower()
    gain = after[decides] - before[decides]
    return Update(made, before, after, (gain if config["valid_metric_bigger"] else -gain) >= 0)


def settings_of(folder: Path, model: type | None) -> tuple[type, dict[str, Any]]:
    """Class and settings of the recommender; ``ValueError`` if it cannot be updated."""
    from recbole_tinynews.data.dataset import NewsDataset
    from recbole_tinynews.evaluation.recbole_metrics import computing
    from recbole_tinynews.model.alignednewsrec import AlignedNewsRec, ZeroShotStudent
    from recbole_tinynews.model.article_reader import reads_words
    from recbole_tinynews.pipeline.artifact import PLM, read_settings
    from recbole_tinynews.pipeline.quick_start import NO_TEST
    from recbole_tinynews.pipeline.saved_model import AS_SAVED, SavedSettings, open_model
    from recbole_tinynews.settings.registry import declared_settings, files_of
    from recbole_tinynews.settings.table import affects_result, parse_key, setting
    from recbole_tinynews.trainer import find_trainer
    from recbole_tinynews.trainer.news_trainer import UntrainedTrainer

    opened, settings = SavedSettings.of(folder), read_settings(folder)
    model_class: Any = type(open_model(folder, opened, model))
    name, stages = model_class.__name__, files_of(model_class).stages
    if model_class is ZeroShotStudent:  # its first clicks are those of an AlignedNewsRec
        kept = {
            n: v for n, v in settings.items() if not (n in OF_TEXTS or parse_key(n, stages).stage)
        }
        settings = {**kept, "news_dim": model_class.news_dim(cast("Any", opened))}
        model_class = AlignedNewsRec
    by_clicks = issubclass(model_class.reads, NewsDataset)
    if issubclass(find_trainer(model_class), UntrainedTrainer) or not by_clicks:
        raise ValueError(
            f"update expects what is trained on clicks in steps, and {name} is not. Train it anew."
        )
    if reads_words(settings) or {"category", "subcategory"} & {*(settings.get("views") or ())}:
        raise ValueError(
            f"update expects a recommender that reads texts by a language model alone, and this "
            f"{name} has vectors of the words or categories of its data set, which another data "
            "set numbers differently. Retrain it."
        )
    defaults = declared_settings(model_class)
    given: dict[str, Any] = {}
    for name in defaults:  # settings that were None are not saved
        rule = setting(name).rule
        if affects_result(name, True) and rule is not None and rule.holds(None):
            given[name] = None
    for text, value in settings.items():
        key = parse_key(text, stages)
        of_run = isinstance(value, dict) or key.stage is not None  # to split and to sample
        of_run &= setting(key.name).of_run
        if key.name in defaults and not of_run:
            given[text] = json.dumps(value) if isinstance(value, str) else value
    decides = str(settings.get("valid_metric", defaults["valid_metric"]))
    given |= computing(decides, defaults["metrics"], defaults["topk"]) | NO_TEST
    if settings.get("train_since") is None:  # else it is an update, at these rates already
        rates = ("learning_rate", "plm_learning_rate")
        given |= {name: given[name] / SLOWER for name in rates if given.get(name)}
    own: dict[str, Any] = {**DEFAULTS, **AS_SAVED, "vocabulary_min_articles": None}
    own |= {"plm": str(folder / PLM), "update_from": str(folder)}
    return model_class, given | {name: value for name, value in own.items() if name in defaults}


def _has_clicks(inter: Path, since: float) -> bool:
    """Whether a file has an impression since then that gives a training sample."""
    from recbole_tinynews.data.atomic_files import Indices, read_impressions

    return any(
        {0, 1} <= {*block.labels[slice(*block.candidates.offsets[row : row + 2])].tolist()}
        for block in read_impressions(inter, Indices())
        for row in (block.timestamp >= since).nonzero()[0]
    )


def _metrics(run: Any, stage: Any) -> dict[str, float]:
    """Metrics on the validation impressions."""
    config = run.recipe(stage).config
    trainer = run.factory.trainer(config, run.model(stage))
    shown = run.factory.impressions(config, run.factory.valid)
    return dict(trainer.evaluate(shown, load_best_model=False, show_progress=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; status 0, also without new clicks, 1 after an error, or 3 if it is worse."""
    parser = command_parser(
        prog="recbole-tinynews update",
        description="Train a finished recommender further on newer clicks.",
        epilog="Further settings: --key=value, e.g. --epochs=1. Docs: docs/updates.md.",
    )
    add, folder = parser.add_argument, "of the recommender in use, or a link, which then follows"
    add("--from", dest="folder", required=True, metavar="FOLDER", help=folder)
    add("--data", metavar="FOLDER", help="of a data set with newer impressions")
    add("--since", type=float, metavar="SECONDS", help="UTC; learn from clicks from then on")
    add("--rollback", action="store_true", help="point the link back to the previous version")
    flags, settings = parser.parse_known_args(arguments)
    if not flags.rollback and flags.data is None:
        parser.error("--data expects the folder of a data set with newer impressions.")
    hint = " The same command resumes."
    with one_line_errors(parser.prog, hint=hint, mistakes=(LockHeldError,)):
        if flags.rollback:
            print(f"{flags.folder} is {rollback(flags.folder)} again.")
            return 0
        try:
            done = update(flags.folder, flags.data, settings, since=flags.since)
        except NoNewClicksError as nothing:
            print(nothing)
            return 0
    for name, metrics in (("in use", done.before), ("updated", done.after)):
        shown = [f"{key} {value:.4f}" for key, value in metrics.items() if not is_count(key)]
        print(f"{name:>8}: {', '.join(shown)}")
    if not done.is_better:
        print(f"Not in use: {done.folder} is worse.", file=sys.stderr)
        return 3
    print(f"{flags.folder} -> {done.folder}" if Path(flags.folder).is_symlink() else done.folder)
    return 0

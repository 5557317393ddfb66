"""What a finished run came to: metrics of the test set, size and speed, and its report."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import reduce
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import set_color
from tabulate import tabulate

import recbole_tinynews
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.evaluation.collector import cold_impressions, reranked_results, struct_of
from recbole_tinynews.evaluation.metrics import is_count
from recbole_tinynews.evaluation.recbole_metrics import is_own
from recbole_tinynews.evaluation.rerank import IDS, VECTORS, Articles, unit_vectors
from recbole_tinynews.evaluation.result_files import write_eval_dump, write_submission
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import Artifact
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import ImpressionFactory
from recbole_tinynews.pipeline.plan import PLAIN
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage, lineage
from recbole_tinynews.processes.group import broadcast, process_group
from recbole_tinynews.trainer.impression_evaluation import ImpressionEvaluation
from recbole_tinynews.trainer.losses import Budget

NEWS, REPEATS = 512, 3  # of a measurement of speed
_PLACEHOLDERS = frozenset(("fake_loss", "dummy_param"))  # optimizers need a parameter


def result_of(this_run: Run, stages: Sequence[Stage]) -> dict[str, Any]:
    """The result of a run, logged and written by its first process, after all of its stages."""
    factory, config = this_run.factory, this_run.factory.config
    artifact = this_run.make(*stages)
    model = this_run.model(stages[-1])
    ranks_news = factory.ranks_news(stages[-1].model)
    test = evaluate_test(factory, model) if ranks_news else TestMetrics()
    if test.test and _has_labels(factory):
        _keep(artifact, factory.dataset.content, test.test)
    result: dict[str, Any] = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "valid": artifact.valid,
        **test._asdict(),
        "parameters": parameter_count(model),
        "stages": [
            {
                "name": stage.name,
                "fingerprint": stage.fingerprint,
                "reused": stage.reused,
                "seconds": round(stage.seconds, 2),
            }
            for stage in this_run.artifacts.values()
        ],
        "news_per_second": speed_of(model),
        "budget": _budgets(this_run.artifacts, stages[-1]),
        "environment": environment(config),
    }
    if not config["rerank"]:
        del result["test_reranked"]
    if teachers := evaluate_teachers(this_run, stages[-1]):
        result["teachers"] = teachers
    if not process_group().first:
        return broadcast(None, patient=True)
    broadcast(result, patient=True)
    if config["result_file"]:
        finite = json.loads(json.dumps(result), parse_constant=lambda _: None)  # json has no NaN
        write_text(Path(config["result_file"]), json.dumps(finite, indent=2) + "\n")
    report(result, artifact, oracle_of(Path(config["data_path"])))
    return result


def _budgets(artifacts: Mapping[Stage, Artifact], last: Stage) -> dict[str, Any]:
    """Budgets of the model's own stages and of its teachers'; None if not counted."""
    own = lineage(last)
    others = [stage for stage in artifacts if stage not in own]
    found: dict[str, Any] = {}
    for name, stages in (("own", own), ("teachers", others)):
        budgets = [artifacts[stage].budget for stage in stages]
        counted = [Budget(**each) for each in budgets if each is not None]
        known = len(counted) == len(budgets)
        found[name] = reduce(Budget.plus, counted, Budget())._asdict() if known else None
    return found


class TestMetrics(NamedTuple):
    """Test metrics: of all impressions, of those with only cold clicks, re-ranked."""

    test: Mapping[str, Any] = {}
    test_cold: Mapping[str, Any] = {}
    test_reranked: Sequence[Mapping[str, Any]] = ()


def evaluate_test(factory: ImpressionFactory, model: AbstractRecommender) -> TestMetrics:
    """Evaluate the best model on the test impressions."""
    config = factory.config
    if not _has_labels(factory):
        getLogger().warning(
            f"Data set '{factory.dataset.dataset_name}' has no labelled test impressions, so "
            "there is no test result."
        )
    if factory.test is None:
        return TestMetrics()
    outputs = config["eval_dump"], config["submission"], config["rerank"]
    return _evaluate(factory, config, model, *outputs)


def evaluate_teachers(run: Run, student: Stage) -> dict[str, Any]:
    """Test metrics, size and speed of a student's finetuned teachers, each tested once."""
    teachers = [
        each for each in student.teachers if isinstance(each, Stage) and each.model.ranks_news
    ]
    if not teachers:
        return {}
    one = run.model(teachers[0])
    speed = speed_of(one)
    tested = [_tested(run, each) for each in teachers] if _has_labels(run.factory) else []
    return {"test": tested, "parameters": one.parameter_count, "news_per_second": speed}


def _tested(run: Run, teacher: Stage) -> dict[str, Any]:
    artifact, content = run.artifacts[teacher], run.factory.dataset.content
    result = broadcast(artifact.test_result(content))
    config = run.recipe(teacher).config
    if result is None or not set(config.metric_results) <= result.keys():
        getLogger().info(f"Testing {artifact.folder.name}")
        result = _evaluate(run.factory, config, run.model(teacher)).test
        _keep(artifact, content, result)
    return result


def _keep(artifact: Artifact, content: str, result: Mapping[str, Any]) -> None:
    """Save a test result in the artifact; failing only costs another test."""
    try:
        if process_group().first:
            # a user's own metric may change
            kept = {name: value for name, value in result.items() if not is_own(name)}
            artifact.save_test_result(content, kept)
    except OSError as problem:
        getLogger().warning(f"{artifact.folder} will be tested again the next time: {problem}")


def _has_labels(factory: ImpressionFactory) -> bool:
    return factory.test is not None and factory.test.inter_feat.labelled


def _evaluate(
    factory: ImpressionFactory,
    config: NewsConfig,
    model: AbstractRecommender,
    dump: str | None = None,
    submission: str | None = None,
    rerank: Sequence[Any] = (),
) -> TestMetrics:
    test = factory.test
    assert test is not None, "callers check"
    trainer = factory.trainer(config, model)
    loader = factory.impressions(config, test)
    show_progress = config["show_progress"]
    result = trainer.evaluate(loader, load_best_model=False, show_progress=show_progress)
    collector, evaluated = trainer.eval_collector, trainer.eval_collector.evaluated
    assert result is not None
    assert evaluated is not None, "evaluate has just ranked them"
    if not process_group().first:
        dump, submission, rerank = None, None, ()
    if dump:
        others: dict[str, Any] = {}
        for metric in trainer.evaluator.metric_class.values():
            others |= metric.of_each_impression(evaluated)
        write_eval_dump(dump, collector.ids, evaluated.ranked, config["topk"], others)
    if submission:
        assert np.array_equal(collector.rows, np.arange(len(test))), "in the files' order"
        scored = collector.ids, evaluated.scores, evaluated.offsets
        write_submission(submission, *scored, show_progress, config["leaderboard"])
        of = f"{submission} ({len(test):,} impressions)"
        getLogger().info(f"{set_color('submission', 'yellow')}: {of}")
    reranked = []
    if rerank:
        articles = _articles(model, test)
        reranked = reranked_results(rerank, collector, trainer.evaluator, articles)
    return TestMetrics(dict(result), _of_cold(test, trainer), reranked)


@torch.no_grad()
def _articles(model: AbstractRecommender, test: NewsDataset) -> Articles:
    """Ids and groups of articles, and vectors of the test's candidates; others are zeros."""
    articles = {IDS: test.field2id_token[test.iid_field], **test.groups()}
    if isinstance(model, NewsRecommender):
        ids = np.unique(test.inter_feat.candidates.values).astype(np.int64)
        every = torch.from_numpy(ids).to(model.device)
        made = model.article_vectors(every).float().cpu().numpy()
        articles[VECTORS] = np.zeros((test.item_num, made.shape[1]), np.float32)
        articles[VECTORS][ids] = unit_vectors(made)
    return articles


def _of_cold(test: NewsDataset, trainer: ImpressionEvaluation) -> dict[str, Any]:
    """Metrics on the cold ones of the test impressions just ranked."""
    shown, facts, collector = test.inter_feat, test.facts, trainer.eval_collector
    assert facts is not None, "the data set was built"
    assert collector.evaluated is not None, "they were ranked"
    news, offsets = shown.candidates.values, shown.candidates.offsets
    cold = cold_impressions(news, shown.labels, offsets, np.flatnonzero(facts.clicks))
    of_part = collector.evaluated.only(cold[collector.rows])
    return dict(trainer.evaluator.evaluate(struct_of(of_part)))


def parameter_count(model: AbstractRecommender) -> int:
    """Number of parameters at serving, without placeholders of memory-based models."""
    if isinstance(model, NewsRecommender):
        return model.parameter_count
    return sum(p.numel() for name, p in model.named_parameters() if name not in _PLACEHOLDERS)


def speed_of(model: AbstractRecommender) -> float | None:
    """Articles encoded per second; None for models that encode none."""
    if not isinstance(model, NewsRecommender):
        return None
    # in one process, while the others wait
    speed = news_per_second(model.news_encoder) if process_group().first else None
    return broadcast(speed and round(speed, 1), patient=True)


def news_per_second(news_encoder: NewsEncoder) -> float:
    """Articles encoded per second without caches, the median of a few runs over typical articles.

    They are encoded in packs of the encoder's own size.
    """
    ids = np.flatnonzero(news_encoder.tokens.lengths)
    ids = ids[np.linspace(0, len(ids) - 1, min(NEWS, len(ids))).astype(int)]
    was_training = news_encoder.training
    news_encoder.eval()
    seconds = []
    try:
        with torch.no_grad(), news_encoder.without_tables():
            for _ in range(1 + REPEATS):  # the first is for warm-up
                started = time.perf_counter()
                news_encoder.encode_distinct(ids).sum().item()  # item() waits for a GPU
                seconds.append(time.perf_counter() - started)
    finally:
        news_encoder.train(was_training)
    return len(ids) / statistics.median(seconds[1:])


def report(result: dict[str, Any], artifact: Artifact, oracle: dict[str, float]) -> None:
    """Log the results and the artifact's folder."""
    logger = getLogger()
    logger.info(set_color("best valid", "yellow") + f": {result['valid']}")
    for name, kind in (("test", ""), ("test_cold", ", clicked news cold")):
        if result[name]:  # there may be no test impressions
            logger.info(set_color(f"test result{kind}", "yellow") + f": {result[name]}")
    if reranked := result.get("test_reranked"):
        table = tabulate(reranked, headers="keys", tablefmt="plain", floatfmt=".4f")
        logger.info(set_color("test result, re-ranked", "yellow") + f":\n{table}")
    logger.info(set_color("test, size and speed", "yellow") + f":\n{summary(result, oracle)}")
    logger.info(set_color("saved in", "yellow") + f": {artifact.folder}")


def summary(result: Mapping[str, Any], oracle: Mapping[str, float]) -> str:
    """Test metrics, size and speed, one line per system; ``oracle`` may be empty."""
    metrics = [name for name in result["test"] if not is_count(name)]
    lines: list[tuple[str, Mapping[str, Any]]] = []
    if teachers := result.get("teachers"):
        tests = teachers["test"]
        mean = {name: statistics.fmean(test[name] for test in tests) for name in metrics if tests}
        several = f"{len(tests)} teachers, mean" if tests else "teachers"
        lines.append(("teacher" if len(tests) == 1 else several, {**teachers, **mean}))
    lines.append((result["model"], {**result, **result["test"]}))
    if oracle and metrics:
        lines.append(("oracle", oracle))
    head = ["", *metrics, "parameters", "news per second"]
    rows = [head, *(_row(name, of, metrics) for name, of in lines)]
    return tabulate(rows, **PLAIN, colalign=["left", *["right"] * (len(head) - 1)])


def oracle_of(data_set: Path) -> dict[str, float]:
    """Test metrics of ranking by true click probabilities, known for synthetic data."""
    file = data_set / f"{data_set.name}.oracle.json"
    return json.loads(file.read_text(encoding="utf-8"))["test"] if file.is_file() else {}


def _row(name: str, of: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    cells = [f"{of[metric]:.4f}" if metric in of else "" for metric in metrics]
    size = f"{of['parameters']:,}" if "parameters" in of else ""
    speed = f"{of['news_per_second']:,.0f}" if of.get("news_per_second") is not None else ""
    return [name, *cells, size, speed]


def environment(config: NewsConfig) -> dict[str, Any]:
    """Versions and hardware that affect results."""
    libraries = recbole_tinynews, torch, transformers, np
    return {
        "python": platform.python_version(),
        **{each.__name__: each.__version__ for each in libraries},
        "device": str(config["device"]),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }

"""Every setting that exists is given bad values: each is refused in a line, or has no effect.

The settings and their kinds are read from the yaml files that declare them, so that a new one is
tested as soon as it is there; its rule is elsewhere (``settings/declared.py``).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import recbole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import DATASET, Tiny

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.quick_start import run
from recbole_tinynews.registry import (
    declared_settings,
    find_model,
    is_news_model,
    model_yaml_files,
    overall_yaml_file,
    stage_yaml_files,
)
from recbole_tinynews.settings.declared import Models, unread_by
from recbole_tinynews.settings.names import parse_key

MODELS = [
    "TinyNewsRec",
    "TinyBERT",
    "PLMNRDAPT",
    "TfIdf",
    "BPR",
    "LightGCN",
    "DeepFM",
    "GRU4Rec",
    "SASRecF",
]
RECBOLES = Path(recbole.__file__).parent / "properties"
DOCUMENTED = re.compile(r"^([\w-]+):.*?# \((.*?)\)")  # name: default  # (int or None) meaning
# flags of one process, and names that have meanings of their own: `test_config.py` has their tests
APART = {"model", "dataset", "nproc", "world_size", "local_rank", "ip", "port", "config_files"}
APART |= {
    "offset",
    "group_offset",
    "config_file",
    "device",
    "single_spec",
    "eval_type",
    "data_path",
}
# taken besides what RecBole documents, from RecBole's own code or ours
ALSO = {
    "gpu_id": ("int", "list", "none"),
    "clip_grad_norm": ("float", "none"),
    "metrics": ("str",),
    "topk": ("int",),
    "loss_type": ("none",),
    "submission": ("none",),
    "use_cache": ("str",),
    "save_steps": ("none",),
    "finetune_layers": ("str",),
}
NASTY: list[Any] = [
    *(None, "", " ", "abc", "None", "\0", "ü" * 300, "[", "1e5x", True, False),
    *(-1, 0, 1.5, -1.5, 2**31, 2**63, 10**30, -(10**30), math.nan, math.inf, -math.inf, 1e308),
    *([], [[]], [None], ["abc"], [-1], [0], [1.5], [10**30], {}, {"a": 1}, {1: None}, {"a": {}}),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


def files_of(model: str) -> list[Path]:
    """The yaml files that declare the settings of a model, weakest first."""
    cls = find_model(model)
    files = [RECBOLES / "dataset" / "sample.yaml", RECBOLES / "overall.yaml"]
    if is_news_model(cls):
        files += [overall_yaml_file(cls), *stage_yaml_files(cls).values()]
    else:
        files.append(overall_yaml_file(find_model("PLMNR")).with_name("recbole.yaml"))
    return [*files, *model_yaml_files(cls)]


@lru_cache
def kinds_of(model: str) -> dict[str, set[str]]:
    """What the comment of each declaration says that its values are."""
    found: dict[str, set[str]] = {}
    for file in files_of(model):
        for line in file.read_text(encoding="utf-8").splitlines():
            if matched := DOCUMENTED.match(line):
                name, words = matched.groups()
                kinds = {
                    re.split(r"[ ,-]", word)[0].strip("'").lower() for word in words.split(" or ")
                }
                default = re.split(r"\s+#", line.partition(":")[2])[0].strip()
                kinds |= {"none"} if default in ("~", "None", "") else set()
                found[name] = found.get(name, set()) | kinds
    return {name: kinds | set(ALSO.get(name, ())) for name, kinds in found.items()}


def is_of(kinds: set[str], value: Any) -> bool:
    """Whether a value is of one of the documented kinds."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return any(
        (
            (kind == "none" and value is None)
            or (kind == "bool" and isinstance(value, bool))
            or (kind == "int" and whole)
            or (kind == "float" and (whole or isinstance(value, float)) and math.isfinite(value))
            or (kind in ("str", "string", "all", "auto") and isinstance(value, str))
            or (kind == "list" and isinstance(value, list))
            or (kind == "dict" and isinstance(value, Mapping))
        )
        for kind in kinds
    )


def names_of(model: str) -> list[str]:
    """The settings that a model has, with a stage's prefix for some."""
    names = [name for name in declared_settings(find_model(model)) if name not in APART]
    of_stages = ["epochs", "learning_rate", "finetune_layers", "seed", "valid_metric", "use_cache"]
    staged = stage_yaml_files(find_model(model)) if is_news_model(find_model(model)) else {}
    return names + [f"{stage}_{name}" for stage in staged for name in of_stages]


def unread(model: str) -> frozenset[str]:
    kind = Models.NEWS if is_news_model(find_model(model)) else Models.RECBOLE_ON_IMPRESSIONS
    return unread_by(kind)


def config_of(tiny: Tiny, model: str, values: Mapping[str, Any]) -> NewsConfig:
    """The config of a run; ``ValueError`` is what a user gets as one line for each mistake."""
    is_news = is_news_model(find_model(model))
    usual = tiny.settings(model) if is_news else tiny.stock_settings()
    # a text is given as it is written in yaml, where `1e5` would be a number
    return NewsConfig(model, DATASET, config_dict={**usual, **values})


def accepted(tiny: Tiny, model: str, values: Mapping[str, Any]) -> set[str]:
    """The settings about whose values nothing is said when all are given at once."""
    try:
        config_of(tiny, model, values)
    except ValueError as refused:
        head, *mistakes = str(refused).split("\n- ")
        assert head == f"The settings of {model} don't fit:"
        assert not any("\n" in mistake for mistake in mistakes)
        named = {mistake.split(" ", 1)[0] for mistake in mistakes}
        return {name for name in values if name not in named}
    return set(values)


def check(tiny: Tiny, model: str, values: dict[str, Any]) -> set[str]:
    """Give all values at once; what is accepted is of a kind that its declaration names."""
    kinds = kinds_of(model)
    left = accepted(tiny, model, values)
    stages = stage_yaml_files(find_model(model)) if is_news_model(find_model(model)) else {}
    for name in left - unread(model):
        of = kinds.get(name) or kinds.get(parse_key(name, stages).name)
        value = values[name]
        if of is not None and not isinstance(value, str):
            assert is_of(of, value), f"{name} takes {value!r}, and is declared as {of}"
    return left


@pytest.mark.parametrize("model", MODELS)
def test_no_setting_takes_a_value_of_another_kind(tiny: Tiny, model: str) -> None:
    """`--seed=1.5` ended in a traceback, `--metric_decimal_place=-3` made every metric 0."""
    names = names_of(model)
    assert len(names) > 80
    for value in NASTY:
        check(tiny, model, dict.fromkeys(names, value))


@pytest.mark.parametrize("model", ["TinyNewsRec", "TfIdf", "BPR"])
@settings(
    max_examples=25,
    derandomize=True,  # the same draws each time: a failure is of the change under test
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_random_values_of_all_settings_are_refused_by_name(
    tiny: Tiny, model: str, data: st.DataObject
) -> None:
    """No value, however it is nested, ends in a traceback or is taken for one of another kind."""
    pool = data.draw(st.lists(VALUES, min_size=8, max_size=8))
    shift = data.draw(st.integers(0, 7))
    names = names_of(model)
    check(tiny, model, {name: pool[(i + shift) % 8] for i, name in enumerate(names)})


def taken(tiny: Tiny, model: str) -> list[tuple[str, Any]]:
    """The settings that a model reads, with each of the bad values that is accepted."""
    names = [name for name in names_of(model) if name not in unread(model)]
    pairs = [(n, v) for v in NASTY for n in sorted(check(tiny, model, dict.fromkeys(names, v)))]
    assert len(pairs) > len(NASTY)
    return pairs


@pytest.mark.parametrize("model", ["TinyNewsRec", "TfIdf", "BPR", "DeepFM"])
def test_what_is_accepted_comes_to_a_plan_or_a_line(tiny: Tiny, model: str) -> None:
    """Accepted values, a few at a time, get as far as the stages of the run or to a message."""
    pairs = taken(tiny, model)
    for start in range(0, len(pairs), 8):
        with contextlib.suppress(ValueError):
            system(config_of(tiny, model, dict(pairs[start : start + 8])))


@pytest.mark.whole
@pytest.mark.parametrize("model", ["PLMNR", "TinyNewsRec", "TfIdf", "BPR", "DeepFM", "GRU4Rec"])
def test_a_run_with_what_is_accepted_ends_with_a_result_or_a_line(
    tiny: Tiny, tmp_path: Path, model: str
) -> None:
    """Each alone, to the end: what is refused only when it is used is refused in a line too."""
    usual = tiny.settings(model) if is_news_model(find_model(model)) else tiny.stock_settings()
    for number, (name, value) in enumerate(taken(tiny, model)):
        if model == "TinyNewsRec" and name in names_of("PLMNR"):
            continue  # five stages where one would do
        given = {"checkpoint_dir": str(tmp_path / str(number)), "fresh": True, name: value}
        try:
            result = run(model, DATASET, config_dict={**usual, **given})
        except (ValueError, FileNotFoundError, ModuleNotFoundError):
            continue
        except Exception as problem:
            pytest.fail(f"--{name}={value!r} ended in {problem!r}")
        assert result["model"] == model


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("PLMNR", "metric_decimal_place", -3),  # every metric was 0.0000
        ("PLMNR", "clip_grad_norm", -1),  # reverses gradients
        ("PLMNR", "finetune_layers", 100),
        ("PLMNR", "topk", [1_000_000]),
        ("PLMNR", "ITEM_ID_FIELD", "user_id"),
        ("PLMNR", "LABEL_FIELD", "candidates"),
        ("BPR", "ITEM_ID_FIELD", "category"),
        ("PLMNR", "gpu_id", "abc"),
        ("PLMNR", "valid_metric_bigger", False),  # the worst weights were kept
        ("LightGCN", "n_layers", -1),
        ("BPR", "embedding_size", 0),
        ("PLMNR", "seed", 1.5),
        ("PLMNR", "checkpoint_dir", None),
        ("PLMNR", "LABEL_FIELD", None),
        ("PLMNR", "history_length", 1_000_000),
        ("PLMNR", "news_dim", 1_000_000_000),
        ("PLMNR", "eval_args", {"mode": "full"}),
        ("BPR", "embedding_size", "abc"),
        ("GRU4Rec", "hidden_size", "x"),
        ("DeepFM", "mlp_hidden_size", []),
    ],
)
def test_nonsense_is_refused_by_its_name(tiny: Tiny, model: str, name: str, value: Any) -> None:
    """Each of them was trained with, or ended in a traceback."""
    with pytest.raises(ValueError, match=rf"\n- {name} .*(expects|got)"):
        system(config_of(tiny, model, {name: value}))


def test_the_logger_that_is_not_installed_is_named(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RecBole's own ImportError came after the data were read."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install wandb"):
        config_of(tiny, "TfIdf", {"log_wandb": True})


def test_numbers_may_stand_for_recboles_mapping_of_a_clipping(tiny: Tiny) -> None:
    """RecBole's trainer unpacks it: a number ended in a traceback."""
    assert config_of(tiny, "BPR", {"clip_grad_norm": 1.5})["clip_grad_norm"] == {"max_norm": 1.5}

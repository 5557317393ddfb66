"""Every setting that exists is given bad values: each is refused in a line, or has no effect.

The settings and their kinds are read from the yaml files that declare them, so that a new one is
tested as soon as it is declared; its rule is elsewhere (``settings/table.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DATASET, Tiny

from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.settings.registry import MODELS as OURS
from recbole_tinynews.settings.registry import files_of
from recbole_tinynews.settings.run_settings import RunSettings, recbole_overall_files
from recbole_tinynews.settings.table import parse_key, unread_by

MODELS = ["TinyNewsRec", "PLMNRDAPT", "TfIdf", "BPR", "DeepFM", "SASRecF"]
DOCUMENTED = re.compile(r"^([\w-]+):.*?# \((.*?)\)")  # name: default  # (int or None) meaning
# names that have meanings of their own: `test_config.py` has their tests
APART = {"model", "dataset", "config_file", "data_path"}
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

OF_STAGES = ["epochs", "learning_rate", "finetune_layers", "seed", "valid_metric", "use_cache"]


def declaring(model: str) -> list[Path]:
    """The yaml files that declare the settings of a model, weakest first."""
    files = files_of(model)
    return [*recbole_overall_files(), files.overall, *files.stages.values(), *files.own]


@cache
def kinds_of(model: str) -> dict[str, set[str]]:
    """The kinds of values that the comment of each declaration names."""
    found: dict[str, set[str]] = {}
    for file in declaring(model):
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


@cache
def layering_of(model: str) -> RunSettings:
    """The rules of a model's settings, without any values."""
    return RunSettings(files_of(model))


@cache
def names_of(model: str) -> list[str]:
    """The settings that a model reads, with a stage's prefix for some."""
    known = layering_of(model)
    names = [n for n in known.declared if n not in APART | unread_by(known.kind)]
    return names + [f"{stage}_{name}" for stage in known.stages for name in OF_STAGES]


def check(model: str, value: Any) -> list[str]:
    """The settings that take the value: each declares a kind of values that it is of."""
    known, kinds, taken = layering_of(model), kinds_of(model), []
    for name in names_of(model):
        mistake = known.mistake_of(name, value)
        if mistake is None:
            taken.append(name)
            of = kinds.get(name) or kinds.get(parse_key(name, known.stages).name)
            if name != "metrics" and of is not None and not isinstance(value, str):
                assert is_of(of, value), f"{name} takes {value!r}, and is declared as {of}"
        else:
            assert "\n" not in mistake
            assert len(mistake) < 500
    return taken


@pytest.mark.parametrize("model", MODELS)
def test_no_setting_takes_a_value_of_another_kind(model: str) -> None:
    """`--seed=1.5` ended in a traceback, `--metric_decimal_place=-3` made every metric 0."""
    assert len(names_of(model)) > 40
    taken = [name for value in NASTY for name in check(model, value)]
    assert len(taken) > len(NASTY)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.sampled_from(["TinyNewsRec", "TfIdf", "BPR"]), VALUES)
def test_no_random_value_is_taken_for_one_of_another_kind(model: str, value: Any) -> None:
    """No value, however it is nested, ends in a traceback or in pages of it."""
    check(model, value)


def accepted(model: str) -> Iterator[dict[str, Any]]:
    """Every value that a rule accepts, each once; all settings at a time."""
    by_name: dict[str, list[Any]] = {}
    for value in NASTY:
        for name in check(model, value):
            # two places, or two fields, of one name would be a mistake of the combination
            own = f"{value}{name}" if isinstance(value, str) and value.strip() else value
            is_own = layering_of(model).mistake_of(name, own) is None
            by_name.setdefault(name, []).append(own if is_own else value)
    for number in range(max(map(len, by_name.values()))):
        yield {n: values[number] for n, values in by_name.items() if number < len(values)}


def refused_or(finish: Any, usual: dict[str, Any], model: str, values: dict[str, Any]) -> None:
    """Finish with these values, without those that are refused by name, or with half of them."""
    config_dict = {**usual, **values}
    try:
        finish(model, DATASET, config_dict=config_dict)
    except (ValueError, OSError, ModuleNotFoundError) as refused:
        named = set(re.findall(r"^(?:- )?(\w+)", str(refused), re.M))
        left = {name: value for name, value in values.items() if name not in named}
        if left and len(left) < len(values):
            refused_or(finish, usual, model, left)
        elif len(values) > 1:
            items = sorted(values.items())
            half = len(items) // 2
            refused_or(finish, usual, model, dict(items[:half]))
            refused_or(finish, usual, model, dict(items[half:]))
    except Exception as problem:
        pytest.fail(f"{model} with {values} ended in {problem!r}")


@pytest.mark.parametrize("model", ["TinyNewsRec", "DeepFM"])
def test_accepted_values_come_to_a_plan_or_a_line(tiny: Tiny, model: str) -> None:
    """All values that rules accept get as far as the stages of the run, or to a message."""
    usual = tiny.settings(model) if model in OURS else tiny.stock_settings()
    for values in accepted(model):
        refused_or(
            lambda *given, **named: system(NewsConfig(*given, **named)), usual, model, values
        )


@pytest.mark.whole
@pytest.mark.parametrize("model", ["PLMNR", "BPR"])
def test_a_run_with_accepted_values_ends_with_a_result_or_a_line(
    tiny: Tiny, tmp_path: Path, model: str
) -> None:
    """Values that are refused only where they are used are refused in a line too."""
    usual = tiny.settings(model, max_steps=2) if model in OURS else tiny.stock_settings()
    for number, values in enumerate(accepted(model)):
        place = {"checkpoint_dir": str(tmp_path / str(number)), "fresh": True}
        values = {name: v for name, v in values.items() if name not in place}
        refused_or(run, {**usual, **place}, model, values)


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("PLMNR", "metric_decimal_place", -3),  # every metric was 0.0000
        ("PLMNR", "clip_grad_norm", -1),  # reverses gradients
        ("PLMNR", "finetune_layers", 100),
        ("PLMNR", "topk", [5, 5]),
        ("PLMNR", "accumulation_steps", 1_000_000),
        ("PLMNR", "TIME_FIELD", "nope"),
        ("PLMNR", "ITEM_ID_FIELD", "user_id"),
        ("DeepFM", "mlp_hidden_size", []),
        ("PLMNR", "valid_metric_bigger", False),  # the worst weights were kept
        ("BPR", "embedding_size", 0),
        ("PLMNR", "history_length", 1_000_000),
        ("PLMNR", "news_dim", 1_000_000_000),
        ("PLMNR", "eval_args", {"mode": "full"}),
    ],
)
def test_nonsense_is_refused_by_its_name(tiny: Tiny, model: str, name: str, value: Any) -> None:
    """Each of them was trained with, or ended in a traceback."""
    config_dict = {**(tiny.settings(model) if model in OURS else tiny.stock_settings())}
    with pytest.raises(ValueError, match=rf"\n- {name} .*(expects|got)"):
        system(NewsConfig(model, DATASET, config_dict={**config_dict, name: value}))


def test_more_negatives_than_titles_are_refused_before_the_training(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Each body would be matched with the same wrong titles, many times over."""
    place = {"post_train_teacher_negatives": 500, "checkpoint_dir": str(tmp_path / "saved")}
    with pytest.raises(ValueError, match=r"negatives=500 of post-training .*got \d+ in \d+"):
        run("PLMNRDP", DATASET, config_dict=tiny.settings("PLMNRDP", **place))
    assert not [*tmp_path.glob("saved/**/*.safetensors")]


def test_the_logger_that_is_not_installed_is_named(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RecBole's own ImportError came after the data were read."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install wandb"):
        tiny.config("TfIdf", log_wandb=True)


def test_numbers_may_stand_for_recboles_mapping_of_a_clipping(tiny: Tiny) -> None:
    """RecBole's trainer unpacks it: a number ended in a traceback."""
    config_dict = tiny.stock_settings(clip_grad_norm=1.5)
    config = NewsConfig("BPR", DATASET, config_dict=config_dict)
    assert config["clip_grad_norm"] == {"max_norm": 1.5}

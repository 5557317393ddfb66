"""Optimizers and schedules by name, learning rates, warm-up and precision."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from logging import getLogger
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_constant_schedule, get_linear_schedule_with_warmup

from recbole_tinynews.encoder.one_text import LANGUAGE_MODEL
from recbole_tinynews.processes.group import has_bf16_products
from recbole_tinynews.settings.values import brief, suggest

PLM_PART = f"{LANGUAGE_MODEL}."  # in weight names, also of nested models
_SETTINGS = ("learner", "learner_args", "scheduler", "scheduler_args")
_OF_OPTIMIZER = ("weight_decay", "amsgrad")  # settings that are arguments too
_OF_ALL_STEPS = ("total_steps", "epochs", "steps_per_epoch")  # OneCycleLR fails after these
# what users give no argument for
_TAKEN = {"params", "lr", "optimizer", "last_epoch", *_OF_OPTIMIZER, *_OF_ALL_STEPS}
_LENGTHS = ("T_max", "total_steps")  # all steps of the training, T_max by default


def parameter_groups(
    model: nn.Module, learning_rate: float, plm_learning_rate: float | None
) -> list[dict]:
    """Trained weights, with the language model's own learning rate (``None``: the same)."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    of_plm = [p for name, p in trained.items() if PLM_PART in name]
    others = [p for name, p in trained.items() if PLM_PART not in name]
    plm_rate = learning_rate if plm_learning_rate is None else plm_learning_rate
    groups = [{"params": others, "lr": learning_rate}, {"params": of_plm, "lr": plm_rate}]
    return [group for group in groups if group["params"]]


def most_steps(batches: int, epochs: int, accumulated: Any, max_steps: Any = None) -> int:
    """Optimizer steps without early stopping; ``accumulated`` batches per step.

    >>> most_steps(5, 2, 2), most_steps(5, 2, 2, 4)
    (6, 4)
    """
    steps = epochs * math.ceil(batches / (accumulated or 1))
    return min(steps, max_steps or steps)


def make_optimizer(config: Any, groups: list[dict]) -> Optimizer:
    """The ``learner`` of ``torch.optim`` with ``learner_args``; ``ValueError`` if unknown."""
    kind, arguments = _chosen(config, "learner", torch.optim, Optimizer)
    known = inspect.signature(kind).parameters
    own = {name: config[name] for name in _OF_OPTIMIZER if name in known}
    return kind(groups, **own, **arguments)


def make_schedule(optimizer: Optimizer, config: Any, steps: int) -> LRScheduler:
    """The ``scheduler`` of ``torch.optim.lr_scheduler`` with ``scheduler_args``.

    Without one: linear warm-up, then linear decay to 0; constant rates without ``warmup_steps``.
    """
    warmup_steps = config["warmup_steps"]
    if config["scheduler"] or config["scheduler_args"]:
        kind, arguments = _chosen(config, "scheduler", lr_scheduler, LRScheduler)
        if warmup_steps is not None:
            raise ValueError(f"warmup_steps={warmup_steps} is a schedule too. Set it to ~")
        lengths = {n: steps for n in _LENGTHS if n in inspect.signature(kind).parameters}
        return kind(optimizer, **{**lengths, **arguments})
    if warmup_steps is None:
        return get_constant_schedule(optimizer)
    return get_linear_schedule_with_warmup(optimizer, warmup_steps, steps)


def _chosen(config: Any, setting: str, module: Any, base: type) -> tuple[Any, dict[str, Any]]:
    """The class that a setting names, in any case, and the arguments for it."""
    name, given = str(config[setting]), config[f"{setting}_args"] or {}
    classes = [each for each in vars(module).values() if inspect.isclass(each)]
    kinds = {each.__name__: each for each in classes if issubclass(each, base) and each is not base}
    by_key = {each.lower(): each for each in kinds if not each.startswith("_")}
    key = name.lower().replace("_", "")  # RecBole's sparse_adam
    if key not in by_key:
        raise ValueError(f"{module.__name__} has no such class.{suggest(name, by_key.values())}")
    kind = kinds[by_key[key]]
    known = [each for each in inspect.signature(kind).parameters if each not in _TAKEN]
    for argument in given:
        if argument not in known:
            raise ValueError(
                f"{kind.__name__} takes {', '.join(known)}, not {brief(argument)}."
                f"{suggest(str(argument), known)}"
            )
    return kind, given


def optimization_mistakes(
    final: Mapping[str, Any], of_stages: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Error messages for learners and schedulers, of the run and of stages, that cannot train."""
    decisive = {*_SETTINGS, "warmup_steps"}
    chosen = {f"{stage}_": own for stage, own in of_stages.items() if own.keys() & decisive}
    for prefix, own in {"": {}, **chosen}.items():
        if mistake := _mistake({**final, **own}):
            yield prefix + mistake


def _mistake(values: Mapping[str, Any]) -> str | None:
    """What fails in one step with these settings, if anything."""
    setting, config = "learner", dict.fromkeys((*_SETTINGS, *_OF_OPTIMIZER)) | dict(values)
    if config["learner"] == "adam" and not any(config[name] for name in _SETTINGS[1:]):
        return None  # the default: a trial imports torch's compiler, which takes long
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, 2))]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    try:
        optimizer = make_optimizer(config, [{"params": [each], "lr": 1e-3} for each in weights])
        optimizer.step()
        setting = "scheduler"
        schedule = make_schedule(optimizer, config, steps=1_000)
        optimizer.step()
        schedule.step()
    except Exception as problem:  # whatever torch raises for an argument
        reason = (str(problem) or type(problem).__name__).partition("\n")[0]
        return (
            f"{setting} expects a class of torch.optim that trains with its {setting}_args, got "
            f"{brief(config[setting])} with {brief(config[f'{setting}_args'])}: {reason}"
        )
    return None


def default_precision(device: torch.device) -> str:
    """Bf16 on a GPU with native bf16, otherwise fp32; always fp32 on CPUs, for equal results."""
    return "bf16" if device.type == "cuda" and has_bf16_products(device) else "fp32"


def autocast_dtype(precision: str | None, device: torch.device) -> torch.dtype | None:
    """Autocast type of ``precision`` (``auto``: the fastest); ``None``: float32. Warns if slow."""
    precision = default_precision(device) if precision is None else precision
    native = has_bf16_products(device)
    if precision == "auto":
        otherwise = "fp16" if device.type == "cuda" else "fp32"
        precision = "bf16" if native else otherwise
    if precision == "bf16" and device.type == "cpu" and not native:
        getLogger().warning(
            "precision=bf16 on a processor without bf16 products, which emulates them: training "
            "is many times slower than in fp32. precision=auto chooses what is fast."
        )
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

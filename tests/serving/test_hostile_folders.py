"""Folders from elsewhere: ``load`` ranks, or names the file in a ``ValueError``."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hostile import ALIASES, CONTENTS, checked_anew
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_tinynews.files.tensors import load_weights, save_weights
from recbole_tinynews.pipeline.artifact import WEIGHTS
from recbole_tinynews.serving.loading import load

JUNK = st.one_of(
    *(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers(-(2**70), 2**70)),
    *(st.just([1, 2]), st.just({"a": None})),
)
SOME = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ranks_or_names(folder: Path, file: str) -> None:
    """Load within seconds; a refusal is one line that names the file."""
    started = time.perf_counter()
    refusal = file
    try:
        assert load(folder).rank([], ["word1"])
    except ValueError as problem:
        refusal = str(problem)
    assert file in refusal
    assert len(refusal) < 2_000
    assert time.perf_counter() - started < 5  # a second by itself


@pytest.mark.parametrize(
    "name", ["metrics.json", "settings.yaml", "plm/config.json", "plm/categories.json"]
)
def test_a_file_that_holds_anything_is_named(folder: Path, name: str) -> None:
    """RecursionError, UnicodeDecodeError and KeyError ended a service with a traceback."""
    for content in CONTENTS:
        (folder / name).write_bytes(content)
        if name != "metrics.json":
            checked_anew(folder)
        with pytest.raises(ValueError, match=rf"{Path(name).name}|{Path(name).parent.name}"):
            load(folder)


def test_aliases_that_multiply_are_refused_at_once(folder: Path) -> None:
    """440 bytes of yaml stood for 2**27 numbers, which were formatted for a message."""
    with (folder / "settings.yaml").open("a") as file:
        file.write(f"{ALIASES}\nhistory_length: *a26\n")
    checked_anew(folder)
    ranks_or_names(folder, "settings.yaml")


def changed_in(file: Path, **values: Any) -> None:
    """With other values, or without those that are None."""
    content = {**yaml.safe_load(file.read_text()), **values}
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def set_to(**values: Any) -> Callable[[Path], None]:
    return lambda folder: changed_in(folder / "settings.yaml", **values)


def with_a_token_beyond(folder: Path) -> None:
    file = folder / "plm" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["word1"] = 100_000
    file.write_text(json.dumps(content))


def with_integers(folder: Path) -> None:
    weights = load_weights(folder / WEIGHTS)
    save_weights({name: value.to(torch.int8) for name, value in weights.items()}, folder / WEIGHTS)


def with_a_link(folder: Path) -> None:
    outside = folder.with_name("secret.txt")
    outside.write_text("password hunter2")
    (folder / "settings.yaml").unlink()
    (folder / "settings.yaml").symlink_to(outside)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: changed_in(f / "plm" / "config.json", num_labels=30_000_000), "num_labels=30"),
        (set_to(boosting_rounds=10**9), "boosting_rounds expects at most"),
        (set_to(popularity="added", popularity_hidden=1_001), "popularity_hidden expects at most"),
        (set_to(history_length=None), "history_length is no int"),
        (set_to(history_length=True), "history_length is no int"),
        (
            set_to(history_length=65_536),
            "history_length expects at most 10000",
        ),  # 20 s of attention
        (set_to(finetune_layers=-1), "finetune_layers expects"),
        (with_a_token_beyond, "with the id 100,000"),
        (with_integers, r"other types \['"),
        (with_a_link, "settings.yaml is a link out of it"),
    ],
)
def test_sizes_types_and_links_are_refused_before_anything_is_built(
    folder: Path, change: Any, said: str
) -> None:
    """They took 20 s or 4.3 GB, were cast, failed at every request, or had a secret quoted."""
    change(folder)
    checked_anew(folder)
    started = time.perf_counter()
    with pytest.raises(ValueError, match=said) as refused:
        load(folder)
    assert time.perf_counter() - started < 10
    assert "hunter2" not in str(refused.value)


def test_a_snapshot_of_the_hubs_cache_is_loaded(folder: Path, tmp_path: Path) -> None:
    """Its files are links to blobs beside it, which are no stranger's."""
    blobs, snapshot = tmp_path / "models" / "blobs", tmp_path / "models" / "snapshots" / "1"
    shutil.copytree(folder, blobs)
    for file in (each for each in blobs.rglob("*") if each.is_file()):
        link = snapshot / file.relative_to(blobs)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    assert load(snapshot).encode(["word1"]).shape == load(folder).encode(["word1"]).shape
    (snapshot / "settings.yaml").unlink()
    (snapshot / "settings.yaml").symlink_to(
        shutil.copy(folder / "settings.yaml", tmp_path / "models")
    )
    with pytest.raises(ValueError, match=r"settings\.yaml is a link out of it"):
        load(snapshot)


@SOME
@given(data=st.data())
def test_no_setting_of_a_stranger_ends_in_another_error(folder: Path, data: Any) -> None:
    """Types, sizes and missing keys: memory is not taken before weights are compared."""
    file = folder / "settings.yaml"
    before = file.read_text()
    given_settings = yaml.safe_load(before)
    name = data.draw(st.sampled_from(sorted(given_settings)))
    value = data.draw(st.one_of(st.just(2**31), JUNK))
    given_settings[name] = value
    if data.draw(st.booleans()):
        del given_settings[name]
    file.write_text(yaml.safe_dump(given_settings))
    checked_anew(folder)
    try:
        ranks_or_names(folder, folder.name)
    finally:
        file.write_text(before)


@SOME
@given(data=st.data())
def test_no_description_of_an_export_ends_in_another_error(exported: Path, data: Any) -> None:
    file = exported / "recommender.json"
    before = file.read_text()
    content = json.loads(before)
    part = data.draw(st.sampled_from([content, content["settings"], content["files"]]))
    name = data.draw(st.sampled_from(sorted(part)))
    part[name] = data.draw(JUNK)
    if data.draw(st.booleans()):
        del part[name]
    file.write_text(json.dumps(content))
    try:
        ranks_or_names(exported, exported.name)
    finally:
        file.write_text(before)


def test_an_export_that_holds_anything_is_named(exported: Path) -> None:
    file = exported / "recommender.json"
    before = file.read_text()
    for content in (*CONTENTS, before.replace('"title"', "null").encode()):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"recommender\.json"):
            load(exported)
    file.write_text(before)


@pytest.fixture(scope="module")
def exported(student: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from recbole_tinynews.export.exporting import export

    place = tmp_path_factory.mktemp("exported") / "out"
    return export(student.artifact.folder, "hf", place).folder

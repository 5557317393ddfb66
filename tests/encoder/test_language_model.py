from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny import LAYERS

from recbole_tinynews.encoder import embedding_model
from recbole_tinynews.encoder.plm_files import (
    bare_plm,
    check_sizes,
    load_plm,
    load_tokenizer,
    locate_plm,
    plm_size,
)


def package(root: Path, monkeypatch: pytest.MonkeyPatch, *models: str) -> str:
    """An installed package that may not be imported, with models in some of its folders."""
    name = f"models_{'_'.join(models) or 'none'}"
    for folder in ("code", *models):
        (root / name / folder).mkdir(parents=True)
    for model in models:
        (root / name / model / "config.json").write_text("{}")
    (root / name / "__init__.py").write_text("raise RuntimeError('a model package was imported')")
    monkeypatch.syspath_prepend(root)
    importlib.invalidate_caches()
    return name


def test_a_name_on_the_hub_stays_as_it_is(tmp_path: Path) -> None:
    assert locate_plm("bert-base-uncased", [tmp_path]) == "bert-base-uncased"


def test_a_folder_is_found_from_here_or_beside_the_data_set(tmp_path: Path) -> None:
    """The embedded data set brings its language model, wherever it was installed."""
    for folder in ("here", "data/beside"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    assert locate_plm("here") == "here"
    assert locate_plm(str(tmp_path / "here")) == str(tmp_path / "here")
    assert locate_plm("beside", [tmp_path / "data"]) == str(tmp_path / "data" / "beside")


def test_a_package_is_found_without_being_imported(tmp_path: Path, monkeypatch) -> None:
    """Importing a package runs its code, and may import many others."""
    name = package(tmp_path, monkeypatch, "model")
    assert locate_plm(f"package:{name}") == str(tmp_path / name / "model")
    assert name not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package", "not/a/name", "json.decoder", ""])
def test_a_package_that_is_not_there_says_what_to_install(name: str) -> None:
    with pytest.raises(ValueError, match=r"package:.*there is none.*pip install"):
        locate_plm(f"package:{name}")


@pytest.mark.parametrize(("models", "count"), [((), 0), (("large", "small"), 2)])
def test_a_package_without_exactly_one_model_is_refused(
    tmp_path, monkeypatch, models, count
) -> None:
    """Taking the first of several would depend on the file system."""
    name = package(tmp_path, monkeypatch, *models)
    with pytest.raises(ValueError, match=rf"one subfolder.*got {count}.*plm=FOLDER"):
        locate_plm(f"package:{name}")


@pytest.mark.parametrize("layers", [0, LAYERS + 1])
def test_layers_that_are_not_there_are_refused(bert_folder: Path, layers: int) -> None:
    """`layers[:9]` of three is three: a smaller model than was asked for, without an error."""
    with pytest.raises(ValueError, match=rf"has 3 layers, got num_hidden_layers={layers}.*1\.\.3"):
        load_plm(str(bert_folder), layers)


def test_half_a_model_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    """The missing layers would be random, and training would go to its end on them."""
    shutil.copytree(bert_folder, tmp_path / "half")
    file = tmp_path / "half" / "model.safetensors"
    save_file({n: v for n, v in load_file(file).items() if "layer.1." not in n}, file)
    with pytest.raises(ValueError, match=r"lacks 16, such as encoder\.layer\.1\.\S+ they would be"):
        load_plm(str(tmp_path / "half"))


def changed(source: Path, place: Path, **config: Any) -> Path:
    """A copy of a language model with another configuration."""
    shutil.copytree(source, place)
    file = place / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return place


DAMAGE: dict[str, tuple[str, bytes]] = {
    "empty": ("model.safetensors", b""),
    "cut off": ("model.safetensors", b"1234567"),
    "pickle": ("pytorch_model.bin", b"\x80\x04evil"),
    "index of another kind": ("model.safetensors.index.json", b"[1, 2]"),
    "index without files": ("model.safetensors.index.json", b'{"metadata": {}}'),
    "index of numbers": ("model.safetensors.index.json", b'{"weight_map": {"a": 7}}'),
    "index too deep": ("model.safetensors.index.json", b"[" * 100_000),
}


@pytest.mark.parametrize(("name", "content"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_weights_are_one_clear_line(
    bert_folder: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    """A traceback of transformers says neither which file nor what to do."""
    folder = changed(bert_folder, tmp_path / "damaged")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"^plm=\S+damaged expects [^\n]+$"):
        load_plm(str(folder))


@pytest.mark.parametrize(
    "config",
    [
        {"intermediate_size": 24},
        {"hidden_size": 0},
        {"num_attention_heads": 0},
        {"hidden_act": "nope"},
        {"num_hidden_layers": 2_000_000},
        {"vocab_size": 2_000_000_000},
    ],
    ids=str,
)
def test_a_configuration_of_no_such_model_is_one_clear_line(
    bert_folder: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    folder = changed(bert_folder, tmp_path / "other", **config)
    with pytest.raises(ValueError, match=r"^plm=\S+other expects [^\n]+$"):
        load_plm(str(folder))


@pytest.mark.parametrize("load", [load_plm, bare_plm])
def test_a_configuration_does_not_choose_the_code_of_attention(
    bert_folder: Path, tmp_path: Path, load: Any
) -> None:
    """Transformers would load a kernel that it names from the hub, and run it."""
    usual = load(str(bert_folder)).config._attn_implementation
    folder = changed(bert_folder, tmp_path / "kernel", attn_implementation="nobody/kernel")
    assert load(str(folder)).config._attn_implementation == usual


@pytest.fixture
def weights(bert_folder: Path, tmp_path: Path) -> Path:
    """Weights of a recommender with two layers."""
    named = bare_plm(str(bert_folder), 2).state_dict()
    file = tmp_path / "weights.safetensors"
    save_file({f"news_encoder.text_encoder.plm.{n}": v for n, v in named.items()}, file)
    return file


@pytest.mark.parametrize("name", ["vocab_size", "intermediate_size", "max_position_embeddings"])
def test_a_configuration_takes_no_memory_that_the_weights_do_not_need(
    bert_folder: Path, tmp_path: Path, weights: Path, name: str
) -> None:
    """A stranger's 2 KB of configuration would end the process: it asks for 256 GB."""
    folder = changed(bert_folder, tmp_path / "huge", **{name: 2_000_000_000})
    with pytest.raises(ValueError, match=r"huge/config.json expects .*weights.safetensors has"):
        check_sizes(str(folder), weights)


def test_a_tokenizer_that_grows_texts_without_bound_is_refused(
    bert_folder: Path, tmp_path: Path
) -> None:
    """Ten replacements of a letter by ten make a word of ten letters 100 GB long."""
    folder = changed(bert_folder, tmp_path / "grows")
    file = folder / "tokenizer.json"
    rules = json.loads(file.read_text())
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
    rules["normalizer"] = {"type": "Sequence", "normalizers": [step] * 10}
    file.write_text(json.dumps(rules))
    with pytest.raises(ValueError, match="10,000,000,000 times longer"):
        load_tokenizer(str(folder))


def test_a_hub_that_cannot_be_reached_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """huggingface_hub tries again for 80 seconds, in 69 lines."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    embedding_model.hub_answers.cache_clear()
    start = time.monotonic()
    try:
        for load in (plm_size, load_tokenizer, load_plm):
            with pytest.raises(ValueError, match=r"^plm=nobody/no-such-model .*package:NAME\.$"):
                load("nobody/no-such-model")
    finally:
        embedding_model.hub_answers.cache_clear()
    assert time.monotonic() - start < 5
    assert capfd.readouterr().err.count("\n") <= 1

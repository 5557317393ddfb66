from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LAYERS

from recbole_tinynews.encoder.language_model import (
    load_plm,
    load_tokenizer,
    locate_plm,
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


def test_a_student_has_the_first_layers(bert_folder: Path) -> None:
    """The last layers expect another input, and train to something much worse."""
    whole, cut = load_plm(str(bert_folder)), load_plm(str(bert_folder), 2)
    assert len(whole.encoder.layer) == LAYERS
    assert cut.config.num_hidden_layers == len(cut.encoder.layer) == 2
    for ours, theirs in zip(cut.encoder.layer, whole.encoder.layer, strict=False):
        assert torch.equal(ours.output.dense.weight, theirs.output.dense.weight)


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


@pytest.mark.parametrize("kept", [0, 7, 1000])
def test_a_damaged_file_of_weights_is_one_clear_line(
    bert_folder: Path, tmp_path: Path, kept: int
) -> None:
    shutil.copytree(bert_folder, tmp_path / "damaged")
    file = tmp_path / "damaged" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"^plm=\S+damaged expects [^\n]+$"):
        load_plm(str(tmp_path / "damaged"))


def test_a_configuration_of_another_size_is_one_clear_line(
    bert_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(bert_folder, tmp_path / "wide")
    config = tmp_path / "wide" / "config.json"
    changed = {**json.loads(config.read_text()), "intermediate_size": 24}
    config.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=r"^plm=\S+wide expects [^\n]+$"):
        load_plm(str(tmp_path / "wide"))


def test_roberta_is_accepted(roberta_folder: Path) -> None:
    assert len(load_plm(str(roberta_folder), 2).encoder.layer) == 2
    assert load_tokenizer(str(roberta_folder)).is_fast


@pytest.mark.parametrize("load", [load_plm, load_tokenizer])
def test_a_model_that_cannot_be_had_is_a_clear_error(load) -> None:
    """Without access to the hub, the default model's error is the first that a user sees."""
    with pytest.raises(ValueError, match=r"plm=nobody/no-such-model expects.*package:NAME"):
        load("nobody/no-such-model")

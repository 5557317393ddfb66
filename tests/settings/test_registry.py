from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from recbole.model.general_recommender.bpr import BPR
from recbole.trainer import trainer as recbole_trainers

from recbole_tinynews import trainer
from recbole_tinynews.model.interface import ImpressionRecommender
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.recbole_models import patches
from recbole_tinynews.settings import literals, registry
from recbole_tinynews.settings.registry import (
    MODELS,
    declared_settings,
    files_of,
    find_model,
    has_language_model,
    recbole_models,
)
from recbole_tinynews.trainer import find_trainer


@pytest.fixture
def properties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary properties folder."""
    monkeypatch.setattr(literals, "_PACKAGE", tmp_path / "installed")
    folder = tmp_path / "installed" / "properties" / "model"
    folder.mkdir(parents=True)
    for name in ("PLMNR", "TinyNewsRec"):
        (folder / f"{name}.yaml").touch()
    return folder.parent


def module_of_a_user(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_models_has_a_row_for_every_yaml() -> None:
    """A new model is a module and a yaml; one that is not found could not be named."""
    beside = (registry.PACKAGE / "zoo").glob("*.yaml")
    files = [*literals.packaged_folder("properties").glob("model/*.yaml"), *beside]
    assert sorted(MODELS) == sorted(file.stem for file in files)


@pytest.mark.parametrize("name", MODELS)
def test_the_files_by_name_are_those_of_the_class(name: str) -> None:
    """A base that the table lacks would lose its settings in lists, and before torch is there."""
    model_class = find_model(name)
    assert model_class.__name__ == name
    by_name, by_class = files_of(name), files_of(model_class)
    assert by_name._replace(classes=()) == by_class._replace(classes=())
    assert [each for each in by_class.classes if each in by_name.classes] == [*by_name.classes]
    assert by_name.reads_text == has_language_model(model_class)


@pytest.mark.parametrize("name", ["BPR", "SASRec", "DeepFM", "Pop"])
def test_settings_of_recboles_models_are_found_without_importing_them(name: str) -> None:
    assert declared_settings(name) == declared_settings(find_model(name))


def test_a_name_that_both_have_is_ours() -> None:
    assert find_model("Random").__module__ == "recbole_tinynews.model.baselines.without_texts"


def test_recboles_own_names_are_those_that_its_get_model_takes() -> None:
    """File names are lower case, class names are not: a suggestion must be usable as it stands."""
    external = {"lightgbm", "xgboost"}
    names = recbole_models()
    assert external < set(names)
    assert len(names) > 80
    assert all(find_model(name).__name__ == name for name in names if name not in external)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("tinynewsrec", "TinyNewsRec"),
        ("PLM-NR", "PLMNR"),
        ("bpr", "BPR"),
        ("LightGCNN", "LightGCN"),
    ],
)
def test_a_misspelt_model_is_answered_with_the_nearest_name(
    properties: Path, written: str, meant: str
) -> None:
    """RecBole answers `No module named 'lightgbm'`, which suggests to install it."""
    with pytest.raises(ValueError, match=rf"{written}.*Did you mean {meant}. All: --list-models"):
        find_model(written)


def test_a_model_whose_package_is_missing_says_that_it_would_be_in_vain() -> None:
    if importlib.util.find_spec("lightgbm"):
        pytest.skip("lightgbm is installed")
    with pytest.raises(ValueError, match=r"xgboost cannot run on impressions: .*external library"):
        find_model("xgboost")


def test_a_class_is_taken_as_it_is_and_anything_else_refused() -> None:
    assert find_model(BPR) is BPR
    with pytest.raises(ValueError, match="AbstractRecommender"):
        find_model(dict)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (NewsRecommender, trainer.NewsTrainer),
        (ImpressionRecommender, trainer.UntrainedTrainer),  # it has no loss and no encoder
        (TinyNewsRec, trainer.DistillationTrainer),
    ],
)
def test_a_subclass_keeps_the_trainer_of_its_base(base: type, expected: type) -> None:
    """With another trainer, a variant of a model would silently lose its teachers."""
    assert find_trainer(type("Variant", (base,), {"__module__": "elsewhere"})) is expected


@pytest.mark.parametrize("base", [PLMNR, BPR])
def test_a_users_model_names_its_own_trainer(base: type) -> None:
    own = type("Own", (), {})
    mine = type("Mine", (base,), {"trainer_class": own})
    assert find_trainer(mine) is find_trainer(type("Yours", (mine,), {})) is own


def test_a_misspelt_trainer_is_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean DistillationTrainer"):
        find_trainer(type("Mine", (PLMNR,), {"trainer_class": "DistilationTrainer"}))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("BPR", "Trainer"),
        ("KGAT", "KGATTrainer"),
        ("CKE", "KGTrainer"),
        ("EASE", "TraditionalTrainer"),
    ],
)
def test_recboles_models_keep_recboles_trainers(model: str, expected: str) -> None:
    patches.apply_to_libraries()
    model_class = find_model(model)
    assert find_trainer(model_class) is getattr(recbole_trainers, expected)
    assert find_trainer(type("Variant", (model_class,), {})) is getattr(recbole_trainers, expected)


def test_stages_are_those_of_the_package_then_those_beside_the_users_modules(
    properties: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a user's stage would have no settings, or every model would have them."""
    for folder in (properties, tmp_path):
        (folder / "stage").mkdir()
    (properties / "stage" / "post_train.yaml").touch()
    (tmp_path / "stage" / "align.yaml").touch()
    module = module_of_a_user(
        tmp_path / "users_own.py",
        "from recbole_tinynews.model.paper.plmnr import PLMNR\n"
        "class Mine(PLMNR): pass\n"
        "class Next(Mine): pass\n",
        monkeypatch,
    )
    assert list(files_of(PLMNR).stages) == ["post_train"]
    assert list(files_of(module.Next).stages.items()) == [
        ("post_train", properties / "stage" / "post_train.yaml"),
        ("align", tmp_path / "stage" / "align.yaml"),
    ]
    (tmp_path / "stage" / "post_train.yaml").touch()
    with pytest.raises(ValueError, match="two called post_train"):
        files_of(module.Mine)


def test_a_class_of_a_notebook_has_no_yaml_and_is_no_error(properties: Path) -> None:
    typed_in = type("Cell", (PLMNR,), {"__module__": "__nowhere__"})
    assert [*files_of(typed_in).own] == [properties / "model" / "PLMNR.yaml"]

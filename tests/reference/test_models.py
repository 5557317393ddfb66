"""What files say of models is what their classes say."""

from __future__ import annotations

import pytest

from recbole_tinynews import registry
from recbole_tinynews.reference import models
from recbole_tinynews.reference.defaults import defaults_of, overall_file, read_by, stage_files
from recbole_tinynews.registry import find_model, model_names

OURS = model_names()


@pytest.mark.parametrize("name", OURS)
def test_files_and_bases_are_those_of_the_class(name: str) -> None:
    """Files are read without importing a class: a base that is missed loses its settings."""
    model_class = find_model(name)
    assert models.yaml_files_of(name) == registry.model_yaml_files(model_class)
    assert models.has_language_model(name) == registry.has_language_model(model_class)
    assert overall_file(name) == registry.overall_yaml_file(model_class)
    if models.has_language_model(name):
        assert stage_files() == registry.stage_yaml_files(model_class)


@pytest.mark.parametrize("name", [*OURS, "BPR", "SASRec", "DeepFM", "Pop"])
def test_defaults_are_those_of_a_run(name: str) -> None:
    from recbole_tinynews.config import declared_settings

    assert defaults_of(name) == declared_settings(find_model(name))


def test_what_trains_nothing_has_no_rate_of_training() -> None:
    assert "learning_rate" in read_by("PLMNR")
    assert "learning_rate" not in read_by("TfIdf")


def test_every_model_is_described() -> None:
    """A line without words helps nobody to choose."""
    ours = models.classes_in(models.OURS)
    assert all(len(ours[name].of_module) > 30 for name in OURS)


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"Did you mean TinyNewsRec .*--list-models"):
        models.check_name("TinyNewsRecc")

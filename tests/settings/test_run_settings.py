from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_tinynews.settings import literals
from recbole_tinynews.settings.run_settings import ModelFiles, RunSettings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``properties`` with two stages and a model, and a user's folder beside it."""
    monkeypatch.setattr(literals, "_PACKAGE", tmp_path)
    for name in ("properties/model", "properties/stage", "mine/stage", "dataset"):
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path / "properties/overall.yaml", "negatives: 4\nplm: bert")
    write(tmp_path / "properties/model/Base.yaml", "temperature: 1.0")
    write(tmp_path / "properties/stage/first.yaml", "negatives: 9\ncorpus: ~\ntemperature: 2.0")
    write(tmp_path / "properties/stage/second.yaml", "epochs: 3")
    write(tmp_path / "mine/Mine.yaml", "my_width: 8")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.write_text(text + "\n", encoding="utf-8")


def settings(folder: Path) -> RunSettings:
    properties, mine = folder / "properties", folder / "mine"
    stages = [*sorted(properties.glob("stage/*")), *sorted(mine.glob("stage/*"))]
    own = properties / "model" / "Base.yaml", mine / "Mine.yaml"
    overall = properties / "overall.yaml"
    return RunSettings(
        ModelFiles("Mine", ("Base", "Mine"), overall, {f.stem: f for f in stages}, own)
    )


def read(folder: Path) -> dict[str, Any]:
    """The values that hold, with the names of settings as they are written."""
    return {str(key): value for key, value in settings(folder).values.items()}


def test_a_stages_key_is_its_own_default_of_a_setting_that_is_declared(folder: Path) -> None:
    """As a plain default, the last stage would be trained with the values of another."""
    values = read(folder)
    assert (values["negatives"], values["first_negatives"]) == (4, 9)
    assert (values["temperature"], values["first_temperature"]) == (1.0, 2.0)
    assert values["second_epochs"] == 3
    assert "first_negatives" not in settings(folder).declared


def test_a_stages_key_that_nobody_declares_is_a_new_setting(folder: Path) -> None:
    """Declared for one stage only, it could not be set for all stages that read it."""
    values = read(folder)
    assert settings(folder).declared["corpus"] is None
    assert "first_corpus" not in values
    assert settings(folder).declares["first"] == {"corpus"}


def test_a_users_yaml_does_not_change_what_a_stage_of_the_package_declares(folder: Path) -> None:
    """`corpus: FILE` in a user's yaml would reach no stage that reads it."""
    write(folder / "mine/Mine.yaml", "corpus: articles.tsv\nfirst_negatives: 5")
    values = read(folder)
    assert values["corpus"] == "articles.tsv"
    assert values["first_negatives"] == 5
    assert "first_corpus" not in values


def test_a_users_stage_sees_what_the_users_class_declares(folder: Path) -> None:
    write(folder / "mine/stage/third.yaml", "my_width: 2\nmy_noise: 0.1\ncorpus: other.tsv")
    values = read(folder)
    assert (values["my_width"], values["third_my_width"]) == (8, 2)
    assert (values["corpus"], values["third_corpus"]) == (None, "other.tsv")
    assert settings(folder).declares["third"] == {"my_noise"}


CONDITION = "when: {plm: {bert: {epochs: 9, negatives: 2}}}"


def test_a_condition_that_is_met_overrides_what_its_file_and_those_before_say(folder: Path) -> None:
    """Values that suit one language model would be used with every other one, or with none."""
    write(folder / "properties/model/Base.yaml", f"epochs: 5\ntemperature: 1.0\n{CONDITION}")
    assert (read(folder)["epochs"], read(folder)["negatives"]) == (9, 2)
    assert settings(folder).declared["epochs"] == 5
    write(folder / "mine/Mine.yaml", "my_width: 8\nnegatives: 3")
    assert read(folder)["negatives"] == 3
    write(folder / "mine/Mine.yaml", "plm: other")
    assert (read(folder)["epochs"], read(folder)["negatives"]) == (5, 4)


def test_a_stage_that_does_not_meet_a_condition_keeps_what_it_had(folder: Path) -> None:
    """Without a value of its own, it would fall back to one that suits another language model."""
    write(folder / "properties/model/Base.yaml", f"epochs: 5\ntemperature: 1.0\n{CONDITION}")
    write(folder / "mine/Mine.yaml", "first_plm: other")
    values = read(folder)
    assert (values["epochs"], values["first_epochs"], values["second_epochs"]) == (9, 5, 3)
    assert values["first_negatives"] == 9


def test_a_condition_of_a_stages_yaml_is_about_that_stage(folder: Path) -> None:
    """A language model would be trained at the rate of word vectors that start anew."""
    write(folder / "properties/stage/second.yaml", f"epochs: 3\n{CONDITION}")
    assert (read(folder)["second_epochs"], read(folder)["second_negatives"]) == (9, 2)
    assert "when" not in settings(folder).declared
    write(folder / "mine/Mine.yaml", "second_plm: other")
    assert read(folder)["second_epochs"] == 3
    assert "second_negatives" not in read(folder)
    assert read(folder)["negatives"] == 4


@pytest.mark.parametrize("when", ["[plm]", "{plm: bert}", "{plm: {bert: 3}}", "~"])
def test_a_condition_that_cannot_be_read_is_an_error(folder: Path, when: str) -> None:
    """Otherwise it would silently be trained with the plain values."""
    write(folder / "properties/stage/second.yaml", f"when: {when}")
    with pytest.raises(ValueError, match=r"when .*second\.yaml.* must be {setting: {value"):
        read(folder)


def test_a_misspelt_name_under_a_condition_is_a_mistake_though_it_is_not_met(folder: Path) -> None:
    write(folder / "properties/model/Base.yaml", "when: {plm: {other: {first_negativs: 2}}}")
    (mistake,) = settings(folder).mistakes
    assert "first_negativs" in mistake
    assert "Did you mean first_negatives?" in mistake


@pytest.mark.parametrize("name", ["finetune", "first_of"])
def test_a_stages_name_that_begins_another_name_takes_no_setting_of_it(
    folder: Path, name: str
) -> None:
    """`finetune_layers` would mean the setting `layers` of a stage called finetune."""
    write(folder / f"mine/stage/{name}.yaml", "epochs: 1")
    write(folder / "mine/Mine.yaml", f"finetune_layers: 3\n{name}_epochs: 2")
    values = read(folder)
    assert (values["finetune_layers"], values[f"{name}_epochs"]) == (3, 2)
    assert settings(folder).mistakes == []

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_tinynews import paths
from recbole_tinynews.settings.layers import ModelFiles, NewsYaml, read_news_yaml


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``properties`` with two stages and a model, and a user's folder beside it."""
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path)
    for name in ("properties/model", "properties/stage", "mine/stage"):
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path / "properties/overall.yaml", "negatives: 4\nplm: bert")
    write(tmp_path / "properties/model/Base.yaml", "temperature: 1.0")
    write(tmp_path / "properties/stage/first.yaml", "negatives: 9\ncorpus: ~\ntemperature: 2.0")
    write(tmp_path / "properties/stage/second.yaml", "as_in: {first: [negatives]}\nepochs: 3")
    write(tmp_path / "mine/Mine.yaml", "my_width: 8")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> NewsYaml:
    """The declarations, with the names of settings as they are written."""
    properties, mine = folder / "properties", folder / "mine"
    stages = [*sorted(properties.glob("stage/*")), *sorted(mine.glob("stage/*"))]
    models = [properties / "model" / "Base.yaml", mine / "Mine.yaml"]
    files = ModelFiles(properties / "overall.yaml", {f.stem: f for f in stages}, models)
    yaml = read_news_yaml(files)
    return yaml._replace(values={str(key): value for key, value in yaml.values.items()})


def test_a_stages_key_is_its_own_default_of_a_setting_that_is_declared(folder: Path) -> None:
    """As a plain default, the last stage would be trained with the values of another."""
    yaml = read(folder)
    assert (yaml.values["negatives"], yaml.values["first_negatives"]) == (4, 9)
    assert (yaml.values["temperature"], yaml.values["first_temperature"]) == (1.0, 2.0)
    assert yaml.values["second_epochs"] == 3
    assert "first_negatives" not in yaml.declared


def test_a_stages_key_that_nobody_declares_is_a_new_setting(folder: Path) -> None:
    """Declared for one stage only, it could not be set for all stages that read it."""
    yaml = read(folder)
    assert yaml.declared["corpus"] is None
    assert "first_corpus" not in yaml.values
    assert yaml.stages["first"].declares == {"corpus"}


def test_a_users_yaml_does_not_change_what_a_stage_of_the_package_declares(folder: Path) -> None:
    """`corpus: FILE` in a user's yaml would reach no stage that reads it."""
    write(folder / "mine/Mine.yaml", "corpus: articles.tsv\nfirst_negatives: 5")
    yaml = read(folder)
    assert yaml.values["corpus"] == "articles.tsv"
    assert yaml.values["first_negatives"] == 5
    assert "first_corpus" not in yaml.values


def test_a_users_stage_sees_what_the_users_class_declares(folder: Path) -> None:
    write(folder / "mine/stage/third.yaml", "my_width: 2\nmy_noise: 0.1\ncorpus: other.tsv")
    yaml = read(folder)
    assert (yaml.values["my_width"], yaml.values["third_my_width"]) == (8, 2)
    assert (yaml.values["corpus"], yaml.values["third_corpus"]) == (None, "other.tsv")
    assert yaml.stages["third"].declares == {"my_noise"}


def test_a_stage_takes_values_from_the_yaml_of_another(folder: Path) -> None:
    """Written twice, they would drift apart."""
    assert read(folder).values["second_negatives"] == 9
    write(folder / "properties/stage/second.yaml", "as_in: {first: [negatives]}\nnegatives: 7")
    assert read(folder).values["second_negatives"] == 7


def test_what_suits_word_vectors_alone_is_no_default_of_the_stage(folder: Path) -> None:
    """A language model would be trained at the rate of word vectors that start anew."""
    text = "epochs: 3\nwith_words: {epochs: 9, negatives: 2}"
    write(folder / "properties/stage/second.yaml", text)
    yaml = read(folder)
    assert yaml.values["second_epochs"] == 3
    assert "second_negatives" not in yaml.values
    assert "with_words" not in yaml.declared
    assert yaml.stages["second"].with_words == {"epochs": 9, "negatives": 2}
    assert yaml.stages["first"].with_words == {}


@pytest.mark.parametrize(
    ("as_in", "answer"),
    [
        ("{first: [negativs]}", "got negativs of first"),
        ("{frist: []}", "got nothing of frist"),
        ("{first: negatives}", "expects {stage: \\[settings\\]}"),
        ("[first]", "expects {stage: \\[settings\\]}"),
    ],
)
def test_a_stage_that_takes_what_is_not_there_is_an_error(
    folder: Path, as_in: str, answer: str
) -> None:
    """Otherwise it would silently be trained with the plain values."""
    write(folder / "properties/stage/second.yaml", f"as_in: {as_in}")
    with pytest.raises(ValueError, match=answer):
        read(folder)


@pytest.mark.parametrize(
    ("name", "blamed", "taken"),
    [
        ("finetune", "finetune", "finetune_layers"),
        ("learning", "learning", "learning_rate"),
        ("first_of", "first", "first_of"),
    ],
)
def test_a_stages_name_that_begins_another_name_is_refused(
    folder: Path, name: str, blamed: str, taken: str
) -> None:
    """`finetune_layers` would mean the setting `layers` of a stage called finetune."""
    write(folder / f"mine/stage/{name}.yaml", "epochs: 1")
    with pytest.raises(ValueError, match=rf"The stage {blamed} .*and {taken} begins with it"):
        read(folder)

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hostile import checked_anew
from served import Served, assert_ranks_as_evaluated, in_order_given, serve, words_of
from tiny import Tiny, finished
from torch import nn
from torch.nn import functional as F

from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline.artifact import read_metrics, write_metrics
from recbole_tinynews.serving.engine import engine_of
from recbole_tinynews.serving.loading import load


def test_titles_are_ranked_from_the_artifacts_folder_alone(student: Served, tmp_path) -> None:
    """On another machine there are no atomic files, no language model and no hub."""
    histories, candidates, expected = student.impressions()
    moved = tmp_path / "moved"
    shutil.copytree(student.artifact.folder, moved)
    settings = yaml.safe_load((moved / "settings.yaml").read_text())
    (moved / "settings.yaml").write_text(yaml.safe_dump({**settings, "plm": "no/such-model"}))
    checked_anew(moved)
    ranked = load(moved).rank(words_of(histories[5]), words_of(candidates[5]))
    np.testing.assert_allclose(in_order_given(ranked), expected[5], atol=1e-5)
    size = sum(path.stat().st_size for path in (moved / "plm").iterdir())
    assert size < 100_000  # the weights are not stored twice


def test_a_folder_that_is_no_artifact_or_unfinished_is_refused_and_explained(folder: Path) -> None:
    """Weights of a running training would load without any error."""
    with pytest.raises(FileNotFoundError, match="nowhere has none of them"):
        load(folder.parent / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has none of them\. Did you mean .*: copied"):
        load(folder.parent)
    (folder.parent / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has none of them\.$"):
        load(folder.parent / "empty")
    (folder / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"unfinished: metrics\.json .*resumes"):
        load(folder)


def test_cut_off_weights_are_refused(folder: Path) -> None:
    """A stranger's checksums fit them, and without any nothing would show that they changed."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"and model\.safetensors is missing or changed"):
        load(folder)
    checked_anew(folder)
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load(folder)
    write_metrics(folder, {**read_metrics(folder), "files": {}})
    with pytest.raises(ValueError, match=r"model\.safetensors, .* are missing or changed"):
        load(folder)


def test_a_stage_that_ranks_nothing_is_refused(
    student: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no user encoder: the body of an article takes the place of the user."""
    # a process that has only loaded anything has not imported its class
    monkeypatch.delitem(sys.modules, "recbole_tinynews.model.stages.title_body")
    first = finished(student.run)[0]
    with pytest.raises(ValueError, match="ranks no news: load the folder of the last stage"):
        load(first.folder)


@pytest.fixture
def users_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    (tmp_path / "served_model.py").write_text(
        "from recbole_tinynews.model.paper.plmnr import PLMNR\n"
        "class Doubled(PLMNR):\n"
        "    def encode_news(self, news_ids):\n"
        "        return 2 * super().encode_news(news_ids)\n"
    )
    spec = importlib.util.spec_from_file_location("served_model", tmp_path / "served_model.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "served_model", module)
    spec.loader.exec_module(module)
    return module.Doubled


def test_a_users_own_class_ranks_by_its_own_scores(tiny: Tiny, users_class: type) -> None:
    """Ranking by the base class's formula would silently be another model."""
    assert_ranks_as_evaluated(serve(tiny, users_class, max_steps=2))


def test_a_class_is_never_imported_because_a_folder_names_it(
    tiny: Tiny, users_class: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a folder from elsewhere could run a module that lies beside it."""
    served = serve(tiny, users_class, max_steps=2)
    monkeypatch.delitem(sys.modules, "served_model")
    monkeypatch.syspath_prepend(".")  # it could be imported
    with pytest.raises(ValueError, match=r"served_model\.Doubled, .*load\(folder, model=Doubled"):
        served.load()
    assert "served_model" not in sys.modules
    assert served.load(model=users_class).rank([], ["word1 word2"])
    with pytest.raises(ValueError, match=r"Pass that class"):
        served.load(model=PLMNR)


def test_code_beside_the_language_model_is_not_run(folder: Path) -> None:
    """Transformers imports the module that ``auto_map`` names, if it is allowed to."""
    (folder / "plm" / "evil.py").write_text("raise SystemExit('it ran')\n")
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / "plm" / name
        named = {"AutoConfig": "evil.A", "AutoModel": "evil.B", "AutoTokenizer": ["evil.C", None]}
        content = {**json.loads(file.read_text()), "auto_map": named}
        file.write_text(json.dumps(content))
    with contextlib.suppress(ValueError):  # refusing is as good as ignoring it
        load(folder).rank([], ["word1 word2"])


class KnowsCategories(PLMNR):
    """Asks the data set for its categories while it is built."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.head = nn.Linear(4, dataset.num("category"))


class SavesCategories(PLMNR):
    """Knows the names of categories, which are saved, and the articles' when it trains."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.head = nn.Linear(4, len(self.categories["category"]))

    def read_articles(self, config, dataset):
        super().read_articles(config, dataset)
        self.register_buffer("category", dataset.item_feat["category"], persistent=False)


def test_a_recommender_is_built_of_what_is_saved_or_says_what_it_lacks(tiny: Tiny) -> None:
    """A made-up data set in its place would rank by tables that nobody has read."""
    with pytest.raises(ValueError, match=r"KnowsCategories, which asks.*'num'.*read_articles"):
        serve(tiny, KnowsCategories, max_steps=2).load()
    served = serve(tiny, SavesCategories, max_steps=2)
    assert_ranks_as_evaluated(served)
    trained = served.run.model(next(iter(served.run.artifacts)))
    assert len(trained.category) == 41
    assert "category" not in dict(served.load().engine.model.named_buffers())


OVERRIDES = {
    "encode_news": lambda self, ids: F.normalize(PLMNR.encode_news(self, ids), dim=-1),
    "encode_user": lambda self, history, clicked: history.sum(1),
    "predict": lambda self, interaction: 2 * PLMNR.predict(self, interaction) ** 3,
}


@pytest.mark.parametrize("method", OVERRIDES)
def test_an_engine_is_chosen_by_what_a_recommender_computes(tiny: Tiny, method: str) -> None:
    """Ranking by the base class's formula would silently be another model."""
    kind = type("Own", (PLMNR,), {method: OVERRIDES[method], "__module__": __name__})
    for popularity in ("none", "added"):
        model = tiny.world(kind, popularity=popularity).model.eval()
        settings = {**tiny.config().final_config_dict, "history_length": 6}
        engine = engine_of(model, settings, "")
        assert engine.multiplies == engine.adds == (method == "encode_user")
        assert (engine.user_encoder is None) == (method == "encode_user")
        plain = engine_of(tiny.world(popularity=popularity).model.eval(), settings, "")
        assert (plain.multiplies, plain.adds) == (True, True)
        assert plain.user_encoder is not None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", 0, "has format 0, and this version"),  # weights may fit and score otherwise
        ("model_class", "os.system", "subclass of NewsRecommender"),
        ("model_class", "builtins.dict", "subclass of NewsRecommender"),
        ("model_class", "recbole_tinynews.model.nrms.Nothing", "Nothing, a class that is not"),
        ("num_hidden_layers", 1_000_000, "num_hidden_layers expects .*got 1000000"),
        ("num_hidden_layers", 900, r"at most 2 \(plm/config.json\), got 900"),
        ("history_length", -3, "history_length expects"),
        ("user_encoder", "attentoin", "user_encoder=attention or self_attention, got 'attentoin'"),
        ("query_dim", "wide", "copied cannot be used: TypeError"),
    ],
)
def test_settings_that_no_run_accepts_are_refused_at_once(
    folder: Path, name: str, value: object, message: str
) -> None:
    """A stranger's folder could keep the machine busy for minutes, or rank with nonsense."""
    settings = yaml.safe_load((folder / "settings.yaml").read_text())
    (folder / "settings.yaml").write_text(yaml.safe_dump({**settings, name: value}))
    with pytest.raises(ValueError, match=r"settings\.yaml is missing or changed"):
        load(folder)  # who edits it would rank otherwise than was measured
    checked_anew(folder)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_the_configuration_beside_a_student_has_its_depth(student: Served) -> None:
    """Who reads it without this package would build the whole language model."""
    config = json.loads((student.artifact.folder / "plm" / "config.json").read_text())
    settings = yaml.safe_load((student.artifact.folder / "settings.yaml").read_text())
    assert config["num_hidden_layers"] == settings["num_hidden_layers"]


def test_an_ensemble_of_whole_teachers_is_loaded_whole(tiny: Tiny) -> None:
    """Its teachers have all layers, although its own setting says two."""
    assert_ranks_as_evaluated(serve(tiny, "EnsembleTeacher", num_teachers=2))

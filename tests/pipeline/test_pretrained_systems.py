"""The systems that finetune a model pretrained on texts, and the ensemble of teachers."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded import PLM, RecordedRun, record
from tiny import DATASET, Tiny, finished, titles

import recbole_tinynews
from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.encoder.plm_files import load_plm
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system

pytestmark = pytest.mark.whole


@pytest.mark.parametrize(
    ("model", "reads"),
    [("PLMNRDAPT", "MaskedLanguageModel"), ("PLMNRTAPT", "TaskLanguageModel")],
)
def test_finetuning_starts_from_the_masked_language_models_layers(
    tiny: Tiny, model: str, reads: str
) -> None:
    """The reference code loads nothing here, and so finetunes the plain language model."""
    recorded = record(tiny, model)
    assert [a.name for a in finished(recorded.run)] == ["pretrain_teacher", model]
    assert next(iter(recorded.run.artifacts)).model.__name__ == reads
    made, start = (
        recorded.artifacts("pretrain_teacher")[0].weights.load(),
        recorded.start_of(model)[0],
    )
    plain = load_plm(str(tiny.plm), 2).state_dict()
    of_plm = {name for name in start if name.startswith(PLM)}
    assert of_plm == {f"{PLM}{name}" for name in plain}
    for name in of_plm:
        assert torch.equal(start[name], made[name]), name
        frozen = ".layer.1." not in name or name.endswith("self.key.bias")  # held
        assert torch.equal(start[name], plain[name.removeprefix(PLM)]) == frozen, name
    assert not any(name.startswith("head.") for name in start)
    folder = finished(recorded.run)[0].folder
    assert not (folder / "plm").exists()  # it ranks no news


def test_dp_finetunes_the_last_copy_of_tiny_newsrecs_teacher(tiny: Tiny) -> None:
    """It is the same post-training, and takes hours."""
    only = {"stage": "post_train_teacher", "teacher_num_hidden_layers": 2}
    student = record(tiny, "TinyNewsRec", **only)
    recorded = record(tiny, "PLMNRDP")
    before, last = finished(recorded.run)
    assert (before.name, before.reused) == ("post_train_teacher", True)
    assert before.folder == finished(student.run)[0].folder
    copy = before.copy(0)
    (start,), kept = recorded.start_of("PLMNRDP"), copy.load()
    of_encoder = {name for name in start if name.startswith("news_encoder.")}
    assert of_encoder == {name for name in kept if name.startswith("news_encoder.")}
    assert all(torch.equal(start[name], kept[name]) for name in of_encoder)
    assert not last.reused


@pytest.mark.parametrize("model", ["PLMNRDAPT", "PLMNRTAPT", "PLMNRDP"])
def test_other_layers_than_those_trained_on_texts_are_refused(tiny: Tiny, model: str) -> None:
    """Else twelve layers are trained for days, and only the first four, all frozen, are used."""
    with pytest.raises(ValueError, match=r"num_hidden_layers=2 and 1 in p.*hidden_layers=2\."):
        record(tiny, model, teacher_num_hidden_layers=1)


@pytest.mark.parametrize("model", ["PLMNRDAPT", "PLMNRTAPT", "PLMNRDP"])
def test_a_student_is_pretrained_with_its_own_layers(tiny: Tiny, model: str) -> None:
    """With those of a teacher, `--num_hidden_layers` alone would be refused."""
    before = system(tiny.config(model, num_hidden_layers=1)).needs[0]
    assert tiny.config(model, num_hidden_layers=1).for_stage(before.name)["num_hidden_layers"] == 1
    assert tiny.config("TinyNewsRec").for_stage("post_train_teacher")["num_hidden_layers"] is None


def test_a_changed_setting_of_masked_training_trains_it_again(tiny: Tiny, tmp_path: Path) -> None:
    def marks(**settings: Any) -> list[str]:
        made = tiny.run("PLMNRDAPT", **settings)
        return [made.recipe(each).fingerprint for each in in_order(system(made.factory.config))]

    def retrained(**settings: Any) -> list[bool]:
        """Whether the stage on texts is, and that on clicks."""
        return [mark not in marks() for mark in marks(**settings)]

    both = [True, True]
    assert retrained() == [False, False]
    assert retrained(learning_rate=2e-3) == [False, True]
    assert retrained(pretrain_teacher_max_steps=2) == both
    assert retrained(max_body_length=10) == both
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text("".join(f"A{n}\t{t or 'word1'}\t{t} word2\n" for n, t in enumerate(titles())))
    assert retrained(post_train_corpus=str(corpus)) == both


# ------------------------------------------------------------------------------- the ensemble


@pytest.fixture(scope="module")
def ensemble(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    folder = tmp_path_factory.mktemp("ensemble")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sizes = {"finetune_teacher_news_dim": 24, "post_train_teacher_news_dim": 24}
        sizes |= {"finetune_teacher_max_title_length": 9, "teacher_checkpoint_interval": 1}
        place = str(folder / "saved")
        return record(tiny, "EnsembleTeacher", checkpoint_dir=place, num_teachers=3, **sizes)


def teachers_of(recorded: RecordedRun) -> list[Any]:
    stages = [stage for stage in recorded.run.artifacts if stage.name == "finetune_teacher"]
    return [recorded.run.model(stage).eval() for stage in stages]


@torch.no_grad()
def test_the_ensembles_scores_are_the_mean_of_its_teachers(ensemble: RecordedRun) -> None:
    """A sum, a mean of ranks or probabilities, or one teacher thrice would be another system."""
    model = ensemble.last_model().eval()
    batch = ImpressionDataLoader(ensemble.run.factory.config, ensemble.run.factory.test).collate_fn(
        range(14)
    )[0]
    each = [teacher.predict(batch) for teacher in teachers_of(ensemble)]
    assert len(each) == 3
    assert min((one - other).abs().max() for one, other in pairwise(each)) > 0.01
    torch.testing.assert_close(model.predict(batch), torch.stack(each).mean(0))
    clicks, _ = ensemble.run.factory.train.loaders(ensemble.run.factory.config, None)
    click = clicks.collate_fn(range(8))
    every = [teacher.score(click).scores for teacher in teachers_of(ensemble)]
    torch.testing.assert_close(model.score(click).scores, torch.stack(every).mean(0))


def test_the_ensemble_is_as_large_and_slow_as_all_its_teachers(ensemble: RecordedRun) -> None:
    """With the size of one teacher it would look like the best system of all."""
    model = ensemble.last_model()
    teachers = teachers_of(ensemble)
    assert model.parameter_count == sum(teacher.parameter_count for teacher in teachers)
    assert not any(p.requires_grad for p in model.parameters())
    ids = np.array([3, 4, 9])
    encoded: list[int] = []
    for encoder in model.news_encoder.encoders:
        plain = encoder.encode_distinct
        encoder.encode_distinct = lambda ids, plain=plain: encoded.append(len(ids)) or plain(ids)
    with torch.no_grad():
        vectors = model.news_encoder.encode_distinct(ids)
        expected = [teacher.news_encoder.encode_distinct(ids) for teacher in teachers]
    torch.testing.assert_close(vectors, torch.cat(expected, dim=-1))
    assert encoded == [3, 3, 3]


def test_nothing_is_trained_beyond_the_teachers(ensemble: RecordedRun) -> None:
    made = ensemble.artifact.weights.load()
    teachers = [a for a in finished(ensemble.run) if a.name == "finetune_teacher"]
    for number, teacher in enumerate(teachers):
        for name, value in teacher.weights.load().items():
            room, rest = name.split(".", 1)
            assert torch.equal(made.pop(f"{room}.encoders.{number}.{rest}"), value), name
    assert not made
    assert 0 <= ensemble.artifact.valid["auc"] <= 1


@pytest.mark.parametrize("layers", [None, 2])
def test_a_moved_ensemble_ranks_as_it_was_evaluated(
    ensemble: RecordedRun, tiny: Tiny, tmp_path: Path, layers: int | None
) -> None:
    """Its folder must suffice, though teachers have other sizes and lengths than the ensemble."""
    recorded = ensemble
    if layers:
        recorded = record(tiny, "EnsembleTeacher", teacher_num_hidden_layers=layers)
    folder = shutil.copytree(recorded.artifact.folder, tmp_path / "moved")
    ranker = recbole_tinynews.load(folder)
    ranker.add_news(read_news_file(tiny.data / DATASET / f"{DATASET}.item"))
    test = recorded.run.factory.test
    shown, names = test.inter_feat, test.field2id_token[test.iid_field]
    batch = ImpressionDataLoader(recorded.run.factory.config, test).collate_fn([4])[0]
    with torch.no_grad():
        expected = recorded.last_model().eval().predict(batch)
    ranked = ranker.rank(
        names[shown.history.row(4)].tolist(), names[shown.candidates.row(4)].tolist()
    )
    scores = [score for _, score, _ in sorted(ranked, key=lambda each: each.place)]
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded import PLM, RecordedRun, Weights, equal, record, under
from tiny import DATASET, Tiny, finished, run_of, titles

from recbole_tinynews.data import articles
from recbole_tinynews.encoder.plm_files import load_plm
from recbole_tinynews.files import whole
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline import factory
from recbole_tinynews.pipeline.handover import put_first_layers, put_news_encoder
from recbole_tinynews.pipeline.plan import REUSED, plan
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage, in_order
from recbole_tinynews.pipeline.systems import system

SYSTEM = "TinyNewsRec"


def newest_copies(recorded: RecordedRun) -> list[Weights]:
    """The weights of the two copies that become teachers."""
    (artifact,) = recorded.artifacts("post_train_teacher")
    return [artifact.copy(back).load() for back in range(2)]


@pytest.fixture(scope="module")
def recorded(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return record(tiny, SYSTEM, checkpoint_dir=str(folder / "saved"))


def copied(recorded: RecordedRun) -> str:
    """A folder with a copy of the recorded run's artifacts, for one test."""
    return str(shutil.copytree(recorded.run.factory.config["checkpoint_dir"], "saved"))


def again(recorded: RecordedRun, tiny: Tiny, **settings: Any) -> RecordedRun:
    """Record another run that finds the first one's artifacts."""
    return record(tiny, SYSTEM, checkpoint_dir=copied(recorded), **settings)


def of_encoder(weights: Weights) -> Weights:
    return under("news_encoder.", weights)


def test_each_teacher_is_finetuned_from_another_copy(recorded: RecordedRun) -> None:
    """The reference code loads nothing here: all its teachers start from the plain model."""
    copies = newest_copies(recorded)
    starts = [of_encoder(start) for start in recorded.start_of("finetune_teacher")]
    for start, copy in zip(starts, copies, strict=True):
        assert equal(start, of_encoder(copy))
    assert not equal(starts[0], starts[1])
    fresh = dict(load_plm(recorded.run.factory.config["plm"]).state_dict())
    assert not equal(under("text_encoder.plm.", starts[0]), fresh)


def test_the_student_starts_from_its_own_first_stage(recorded: RecordedRun) -> None:
    """Otherwise the whole first stage would be thrown away silently."""
    (artifact,) = recorded.artifacts("post_train_student")
    (start,) = recorded.start_of("TinyNewsRec")
    assert equal(of_encoder(start), of_encoder(artifact.weights.load()))
    (before,) = recorded.start_of("post_train_student")
    assert not equal(of_encoder(start), of_encoder(before))
    assert len([name for name in start if ".encoder.layer.2." in name]) == 0  # two layers
    plain = load_plm(recorded.run.factory.config["plm"], 2).state_dict()
    assert equal(under(PLM, before), dict(plain))


def test_each_stage_is_taught_by_the_teachers_that_belong_to_it(recorded: RecordedRun) -> None:
    """The first stage has post-trained teachers, the second has finetuned ones."""
    copies = [of_encoder(copy) for copy in reversed(newest_copies(recorded))]
    tuned = [of_encoder(a.weights.load()) for a in recorded.artifacts("finetune_teacher")]
    first, second = ([*map(of_encoder, taught)] for taught in recorded.teachers)
    assert all(equal(one, other) for one, other in zip(first, copies, strict=True))
    assert all(equal(one, other) for one, other in zip(second, tuned, strict=True))
    assert not equal(second[0], first[-1])


def test_each_stage_leaves_its_folder(recorded: RecordedRun) -> None:
    for artifact in finished(recorded.run):
        assert artifact.folder.name == f"{artifact.name}-{artifact.fingerprint}"
        names = {path.name for path in artifact.folder.iterdir()}
        expected = {"model.safetensors", "settings.yaml", "metrics.json", "tensorboard"}
        if artifact.name == "post_train_teacher":
            expected |= {"copies"}
        if not artifact.name.startswith("post_train"):  # those rank no articles
            expected |= {"plm"}
        assert names == expected
        assert artifact.folder.parent.name == DATASET
        assert 0 <= artifact.valid["auc"] <= 1
        assert artifact.seconds > 0


@pytest.mark.parametrize(("model", "stage"), [(SYSTEM, "post_train_student"), ("NewsBERT", None)])
def test_students_may_start_from_the_teachers_first_layers(
    tiny: Tiny, model: str, stage: str | None
) -> None:
    settings = {"student_init": "teacher", "post_train_teacher_finetune_layers": "all"}
    recorded = record(tiny, model, stage=stage, **settings)
    teacher = recorded.artifacts("post_train_teacher")[0].weights.load()
    (start,) = recorded.start_of(stage or model)
    shared, of_teacher = under(PLM, start), under(PLM, teacher)
    assert len([name for name in shared if "encoder.layer." in name]) == 2 * 16
    assert all(torch.equal(value, of_teacher[name]) for name, value in shared.items())
    first = "encoder.layer.0.output.dense.weight"
    assert not torch.equal(shared[first], load_plm(str(tiny.plm)).get_parameter(first))
    dense = "news_encoder.text_encoder.dense.weight"
    assert torch.equal(start[dense], teacher[dense]) == (model == "NewsBERT")


@pytest.mark.whole
@pytest.mark.parametrize("model", ["NewsBERT", "NewsBERTMT"])
def test_each_part_of_a_joint_training_starts_from_what_the_system_says(
    tiny: Tiny, model: str
) -> None:
    """Otherwise the post-trained weights would be thrown away silently."""
    recorded = record(tiny, model)
    (student,), (teachers,) = recorded.start_of(model), recorded.teachers
    (post_trained,) = recorded.artifacts("post_train_teacher")
    backs = reversed(range(len(teachers)))  # the oldest first
    copies = [post_trained.copy(back).load() for back in backs]
    assert len(teachers) == {"NewsBERT": 1, "NewsBERTMT": 2}[model]
    final = post_trained.weights.load()
    assert equal(under(PLM, copies[-1]), under(PLM, final))
    for teacher, copy in zip(teachers, copies, strict=True):
        assert equal(under(PLM, teacher), under(PLM, copy))
    if model == "NewsBERTMT":
        assert not equal(under(PLM, copies[0]), under(PLM, copies[1]))
    assert equal(under(PLM, student), dict(load_plm(str(tiny.plm), 2).state_dict()))
    for head in ("pooling.", "dense."):
        of_final = under(f"news_encoder.text_encoder.{head}", final)
        for each in (student, *teachers):
            assert equal(under(f"news_encoder.text_encoder.{head}", each), of_final)
    users = [under("user_encoder.", each) for each in (student, *teachers)]
    assert all(equal(users[0], other) for other in users[1:])


def test_the_corpus_is_read_once_for_all_stages(tiny: Tiny, tmp_path, monkeypatch) -> None:
    """If each stage read it, the whole corpus would be in memory several times."""
    made: list[object] = []
    plain = articles.read_corpus
    monkeypatch.setattr(articles, "read_corpus", lambda path: made.append(path) or plain(path))
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text("".join(f"A{n}\t{t}\t{t} {t}\n" for n, t in enumerate(titles())))
    record(tiny, SYSTEM, stage="post_train_student", post_train_corpus=str(corpus))
    assert made == [corpus]


def test_a_stage_that_is_trained_again_is_not_complete(tiny: Tiny, monkeypatch) -> None:
    """If it is killed, its half-trained weights must not be taken for finished ones."""
    config = tiny.config()
    first = run_of(config).make(Stage("PLMNR", PLMNR))
    metrics = first.folder / "metrics.json"
    assert metrics.is_file()
    (first.folder / "model.safetensors").write_bytes(b"cut off")
    monkeypatch.setattr(factory, "find_trainer", lambda cls: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_of(config).make(Stage("PLMNR", PLMNR))
    assert not metrics.exists()


@pytest.mark.parametrize("put", [put_news_encoder, put_first_layers])
def test_a_start_that_does_not_fit_is_refused(tiny: Tiny, put) -> None:
    """The reference code loads nothing in this case and continues."""
    config = tiny.config("TinyNewsRec")
    made = run_of(config).make(Stage("PLMNR", PLMNR))
    model = tiny.world(num_hidden_layers=3).model
    with pytest.raises(ValueError, match="missing"):
        put(model, made.weights)


# ----------------------------------------------------------------- what a change retrains

ALL = ("post_train_teacher", "post_train_student", "finetune_teacher", "TinyNewsRec")


def would_make(recorded: RecordedRun, tiny: Tiny, **settings: Any) -> list[str]:
    """The stages that another run would train, by its plan."""
    place = recorded.run.factory.config["checkpoint_dir"]
    config = tiny.config("TinyNewsRec", checkpoint_dir=place, **settings)
    steps = plan(run_of(config), in_order(system(config)))
    return list(dict.fromkeys(step.stage for step in steps if step.action != REUSED))


@pytest.mark.parametrize(
    ("settings", "stages_made"),
    [
        ({}, ()),
        ({"learning_rate": 2e-3}, ("TinyNewsRec",)),
        ({"finetune_teacher_max_steps": 2}, ("finetune_teacher", "TinyNewsRec")),
        ({"post_train_student_max_steps": 3}, ("post_train_student", "TinyNewsRec")),
        ({"post_train_student_negative_titles": "in_batch"}, ("post_train_student", "TinyNewsRec")),
        ({"post_train_student_temperature": 2.0}, ("post_train_student", "TinyNewsRec")),
        ({"post_train_teacher_negative_titles": "in_batch"}, ALL),
        ({"temperature": 2.0}, ("post_train_student", "TinyNewsRec")),
        ({"num_hidden_layers": 1}, ("post_train_student", "TinyNewsRec")),
        ({"num_teachers": 1}, ("post_train_student", "TinyNewsRec")),
        ({"seed": 1}, ALL),
        ({"warmup_steps": 3, "post_train_teacher_warmup_steps": None}, ALL[1:]),
        ({"result_file": "there.json", "save_steps": 1, "show_progress": False}, ()),
    ],
    ids=str,
)
def test_a_changed_setting_retrains_the_stages_that_it_affects_alone(
    recorded: RecordedRun, tiny: Tiny, settings, stages_made
) -> None:
    """A student's learning rate must not retrain teachers for hours; a seed must."""
    assert set(would_make(recorded, tiny, **settings)) == set(stages_made)


@pytest.mark.parametrize("change", ["news", "clicks"])
def test_changed_data_retrain_every_stage_that_reads_them(
    recorded: RecordedRun, tiny: Tiny, tmp_path: Path, change: str
) -> None:
    """With other content under the same name, teachers of yesterday's data would be reused."""
    copied = tmp_path / "data"
    shutil.copytree(tiny.data, copied)
    file = copied / DATASET / f"{DATASET}.{'item' if change == 'news' else 'train.inter'}"
    lines = file.read_text().splitlines()
    if change == "news":
        lines[5] = lines[5].replace("word", "other ", 1)
    else:
        del lines[-1]
    file.write_text("\n".join(lines) + "\n")
    # post-training reads no clicks
    expected = list(ALL if change == "news" else ALL[2:])
    assert would_make(recorded, tiny, data_path=str(copied)) == expected


# --------------------------------------------------------------------------- ablations


def test_without_stage_one_the_student_enters_stage_two_as_a_plain_language_model(
    recorded: RecordedRun, tiny: Tiny
) -> None:
    ablated = again(recorded, tiny, stage_one=False)
    assert [a.name for a in finished(ablated.run)] == [
        *("post_train_teacher", "finetune_teacher", "finetune_teacher", "TinyNewsRec")
    ]
    assert ablated.made() == ["TinyNewsRec"]  # it has the teachers of the whole method
    (start,) = ablated.start_of("TinyNewsRec")
    assert equal(under(PLM, start), dict(load_plm(str(tiny.plm), 2).state_dict()))
    (of_story,) = recorded.start_of("TinyNewsRec")
    assert not equal(of_encoder(start), of_encoder(of_story))
    tuned = [of_encoder(a.weights.load()) for a in recorded.artifacts("finetune_teacher")]
    (taught,) = ablated.teachers
    taught = map(of_encoder, taught)
    assert all(equal(one, other) for one, other in zip(taught, tuned, strict=True))
    assert ablated.losses == {"TinyNewsRec": ("distillation", "embedding", "target")}
    # if Stage I starts with the teacher's layers, the ablation without it must do so too
    config = tiny.config(SYSTEM, stage_one=False, student_init="teacher")
    assert system(config).start.put is put_first_layers


def test_without_stage_two_the_student_of_stage_one_is_finetuned_alone(
    recorded: RecordedRun, tiny: Tiny
) -> None:
    ablated = again(recorded, tiny, stage_two=False)
    assert [a.name for a in finished(ablated.run)] == [*ALL[:2], "TinyNewsRec"]
    assert ablated.made() == ["TinyNewsRec"]
    assert ablated.losses == {"TinyNewsRec": ("target",)}
    assert ablated.teachers == []
    (start,) = ablated.start_of("TinyNewsRec")
    (student,) = recorded.artifacts("post_train_student")
    assert equal(of_encoder(start), of_encoder(student.weights.load()))
    rooms = {name.split(".")[0] for name in ablated.artifact.weights.load()}
    assert rooms == {"news_encoder", "user_encoder"}
    model, whole = ablated.last_model(), recorded.last_model()
    assert type(model) is PLMNR
    assert model.parameter_count == whole.parameter_count


def test_without_both_stages_it_is_a_plmnr_of_the_students_size(tiny: Tiny) -> None:
    """It is the baseline of the ablation, and trains no teacher."""
    ablated = record(tiny, SYSTEM, stage_one=False, stage_two=False)
    assert [a.name for a in finished(ablated.run)] == ["TinyNewsRec"]
    config = tiny.config("PLMNR", num_hidden_layers=2, max_steps=3)
    plain = run_of(config).make(Stage("PLMNR", PLMNR))
    assert equal(ablated.artifact.weights.load(), plain.weights.load())
    assert ablated.artifact.valid == plain.valid


@pytest.mark.parametrize("removed", ["distillation", "embedding", "target"])
def test_without_a_loss_both_stages_train_without_it(
    recorded: RecordedRun, tiny: Tiny, removed: str
) -> None:
    """The paper's ablation; as we define it, the loss is removed from both stages."""
    ablated = again(recorded, tiny, **{f"{removed}_loss_weight": 0})
    left = tuple(n for n in ("distillation", "embedding", "target") if n != removed)
    assert ablated.losses == {"post_train_student": left, "TinyNewsRec": left}
    for stage in ("post_train_student", "TinyNewsRec"):
        (artifact,) = ablated.artifacts(stage)
        names = [n for n in artifact.weights.load() if n.startswith("distillation.")]
        assert (names == []) == (removed == "embedding")


def test_a_stage_that_another_process_trains_is_waited_for_and_reused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two systems of a benchmark that need the same teachers would otherwise both train them."""
    config = tiny.config(max_steps=1, checkpoint_dir=str(tmp_path / "saved"))
    made = run_of(config).make(Stage("PLMNR", PLMNR))
    elsewhere = shutil.copytree(made.folder, tmp_path / "elsewhere")
    shutil.rmtree(made.folder)

    @contextmanager
    def after_the_other(place: Path, work: str) -> Iterator[None]:
        shutil.copytree(elsewhere, place)
        yield

    monkeypatch.setattr(whole, "exclusive_lock", after_the_other)
    monkeypatch.setattr(Run, "_train", lambda *arguments: 1 / 0)
    found = run_of(config).make(Stage("PLMNR", PLMNR))
    assert (found.reused, found.folder, found.valid) == (True, made.folder, made.valid)


def test_a_finished_stage_needs_no_lock(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in a read-only folder, or be read by many processes at once."""
    config = tiny.config(max_steps=1, checkpoint_dir=str(tmp_path / "saved"))
    run_of(config).make(Stage("PLMNR", PLMNR))
    monkeypatch.setattr(whole, "exclusive_lock", lambda *arguments: 1 / 0)
    assert run_of(config).make(Stage("PLMNR", PLMNR)).reused

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from tiny import DATASET, STAGE_SETTINGS, Tiny, finished, run_of, titles, write_bert
from torch import Tensor

from recbole_tinynews.data import articles
from recbole_tinynews.encoder.language_model import load_plm
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.tinynewsrec import TinyNewsRec
from recbole_tinynews.model.title_body import TitleBodyMatcher
from recbole_tinynews.pipeline import factory
from recbole_tinynews.pipeline import run as run_module
from recbole_tinynews.pipeline.artifact import Artifact, Weights
from recbole_tinynews.pipeline.factory import content_of_language_model
from recbole_tinynews.pipeline.handover import put_first_layers, put_news_encoder
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage, in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer import DistillationTrainer
from recbole_tinynews.trainer.curve import COUNTS


class Story(NamedTuple):
    """A run of all stages, and each stage's weights before its first step."""

    run: Run
    artifact: Artifact
    starts: list[tuple[str, dict[str, Tensor]]]
    teachers: list[list[dict[str, Tensor]]]
    losses: dict[str, tuple[str, ...]]

    def artifacts(self, stage: str) -> list[Artifact]:
        return [artifact for artifact in finished(self.run) if artifact.name == stage]

    def start_of(self, stage: str) -> list[dict[str, Tensor]]:
        return [weights for name, weights in self.starts if name == stage]


def newest_copies(story: Story) -> list[Weights]:
    """The two copies that become teachers."""
    (artifact,) = story.artifacts("post_train_teacher")
    return [artifact.copy(back) for back in range(2)]


def last_model(story: Story) -> Any:
    """The finished student."""
    return story.run.model(system(story.run.factory.config))


def copy_of(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def tell(tiny: Tiny, **settings: Any) -> Story:
    config = tiny.config("TinyNewsRec", **settings)
    run = run_of(config)
    starts: list[tuple[str, dict[str, Tensor]]] = []
    teachers: list[list[dict[str, Tensor]]] = []
    losses: dict[str, tuple[str, ...]] = {}
    find = factory.find_trainer

    def watched(model_class: type) -> Any:
        trainer_class = find(model_class)

        def fit(self: Any, *arguments: Any, **keywords: Any) -> tuple:
            stage = Path(self.saved_model_file).parent.name.rsplit("-", 1)[0]
            starts.append((stage, copy_of(self.model.state_dict())))
            if isinstance(self, DistillationTrainer):
                members = self.teachers.members
                teachers.append([copy_of(m.news_encoder.state_dict()) for m in members])
            return trainer_class.fit(self, *arguments, **keywords)

        def backward(self: Any, *arguments: Any) -> Any:
            stage = Path(self.saved_model_file).parent.name.rsplit("-", 1)[0]
            parts = trainer_class._backward(self, *arguments)
            losses[stage] = parts._fields
            return parts

        watching = {"fit": fit, "_backward": backward}
        return type(trainer_class.__name__, (trainer_class,), watching)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "find_trainer", watched)
        return Story(run, run.make(system(config)), starts, teachers, losses)


@pytest.fixture(scope="module")
def story(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return tell(tiny, checkpoint_dir=str(folder / "saved"))


def copied(story: Story) -> str:
    """A folder with the artifacts of the story, and those of no other test."""
    return str(shutil.copytree(story.run.factory.config["checkpoint_dir"], "saved"))


def again(story: Story, tiny: Tiny, **settings: Any) -> Story:
    """Another run where the first one's artifacts lie."""
    return tell(tiny, checkpoint_dir=copied(story), **settings)


def of_encoder(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "news_encoder."
    return {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_stages_come_in_the_papers_order(story: Story) -> None:
    assert [artifact.name for artifact in finished(story.run)] == [
        "post_train_teacher",
        "post_train_student",
        "finetune_teacher",
        "finetune_teacher",
        "TinyNewsRec",
    ]
    assert len({artifact.fingerprint for artifact in finished(story.run)}) == 5


def test_each_teacher_is_finetuned_from_a_copy_of_its_own(story: Story) -> None:
    """The reference code loads nothing here: all of its teachers restart from the plain model."""
    copies = newest_copies(story)
    starts = [of_encoder(start) for start in story.start_of("finetune_teacher")]
    for start, copy in zip(starts, copies, strict=True):
        assert equal(start, of_encoder(copy.load()))
    assert not equal(starts[0], starts[1])
    fresh = dict(load_plm(story.run.factory.config["plm"]).state_dict())
    plm = "text_encoder.plm."
    of_plm = {n.removeprefix(plm): v for n, v in starts[0].items() if n.startswith(plm)}
    assert not equal(of_plm, fresh)


def test_the_student_starts_from_its_own_first_stage(story: Story) -> None:
    """Without it, the whole first stage would be thrown away, and nobody would be told."""
    (artifact,) = story.artifacts("post_train_student")
    (start,) = story.start_of("TinyNewsRec")
    assert equal(of_encoder(start), of_encoder(artifact.weights.load()))
    (before,) = story.start_of("post_train_student")
    assert not equal(of_encoder(start), of_encoder(before))
    assert len([name for name in start if ".encoder.layer.2." in name]) == 0  # two layers


def test_the_first_stage_starts_from_the_plain_language_model(story: Story) -> None:
    plain = load_plm(story.run.factory.config["plm"], 2).state_dict()
    (start,) = story.start_of("post_train_student")
    for name, value in plain.items():
        assert torch.equal(start[f"news_encoder.text_encoder.plm.{name}"], value)


def test_each_stage_is_taught_by_the_teachers_that_belong_to_it(story: Story) -> None:
    """Post-trained ones in the first stage, finetuned ones in the second."""
    copies = [of_encoder(copy.load()) for copy in reversed(newest_copies(story))]
    tuned = [of_encoder(a.weights.load()) for a in story.artifacts("finetune_teacher")]
    first, second = story.teachers
    assert all(equal(one, other) for one, other in zip(first, copies, strict=True))
    assert all(equal(one, other) for one, other in zip(second, tuned, strict=True))
    assert not equal(second[0], first[-1])


def test_teachers_differ_in_their_user_encoders_too(story: Story) -> None:
    """M runs with one seed are one run M times, but for the copy."""
    one, other = story.start_of("finetune_teacher")
    name = "user_encoder.pooling.projection.weight"
    assert not torch.equal(one[name], other[name])


def test_each_stage_leaves_its_folder(story: Story) -> None:
    for artifact in finished(story.run):
        assert artifact.folder.name == f"{artifact.name}-{artifact.fingerprint}"
        names = {path.name for path in artifact.folder.iterdir()}
        expected = {"model.safetensors", "settings.yaml", "metrics.json"}
        expected |= {"training.csv", "training.svg"}
        if artifact.name == "post_train_teacher":
            expected |= {"copies"}
        if not artifact.name.startswith("post_train"):  # those rank no news
            expected |= {"plm"}
        assert names == expected
        assert artifact.folder.parent.name == DATASET
        assert 0 <= artifact.valid["auc"] <= 1
        assert artifact.seconds > 0


def test_each_stage_shows_how_it_was_trained(story: Story) -> None:
    """Losses by name with their sum, and the metric that the stage is validated by."""
    for artifact in finished(story.run):
        table = artifact.folder / "training.csv"
        curve = pd.read_csv(table, dtype=str).astype(float).set_index("step")  # exact in any pandas
        summands = [f"{name}_loss" for name in story.losses[artifact.name]]
        losses = summands if len(summands) == 1 else ["train_loss", *summands]
        assert list(curve.columns) == [*losses, *(m for m in artifact.valid if m not in COUNTS)]
        assert curve[losses].notna().all(axis=None)
        metric = "accuracy" if artifact.name.startswith("post_train") else "auc"
        assert artifact.valid[metric] in set(curve[metric])
        assert "<svg" in (artifact.folder / "training.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("broken", ["as_svg", "step_figure"])
def test_a_figure_that_cannot_be_drawn_costs_no_training(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog, broken: str
) -> None:
    """A missing font, a full disk, no matplotlib at all: the weights took hours."""
    monkeypatch.setattr(run_module, broken, lambda *arguments: 1 / 0)
    config = tiny.config(max_steps=1)
    made = run_of(config).make(Stage("PLMNR", PLMNR))
    assert "training.svg could not be drawn: ZeroDivisionError" in caplog.text
    assert (made.folder / "training.csv").is_file()
    assert not (made.folder / "training.svg").exists()
    assert run_of(config).make(Stage("PLMNR", PLMNR)).reused


def test_no_weights_hold_a_teacher(story: Story) -> None:
    """A student that carries its teachers is as large as they are."""
    for artifact in story.artifacts("TinyNewsRec"):
        rooms = {name.split(".")[0] for name in artifact.weights.load()}
        assert rooms == {"news_encoder", "user_encoder", "distillation"}
    student = last_model(story)
    assert len(student.news_encoder.text_encoder.plm.encoder.layer) == 2
    assert len([n for n, _ in student.named_parameters() if ".layer.2." in n]) == 0


def test_a_stage_has_the_settings_of_its_name(story: Story, tiny: Tiny) -> None:
    """A teacher with the student's layers would be no teacher."""
    layers = {
        stage.name: story.run.recipes.of(stage).config["num_hidden_layers"]
        for stage in story.run.artifacts
    }
    assert (layers["finetune_teacher"], layers["TinyNewsRec"]) == (None, 2)
    (start, _) = story.start_of("finetune_teacher")
    assert any(".encoder.layer.2." in name for name in start)


def test_students_may_start_from_the_teachers_first_layers(tiny: Tiny) -> None:
    story = tell(tiny, student_init="teacher", post_train_teacher_finetune_layers="all")
    teacher = story.artifacts("post_train_teacher")[0].weights.load()
    (start,) = story.start_of("post_train_student")
    shared = [name for name in start if name.startswith("news_encoder.text_encoder.plm.")]
    assert len([name for name in shared if ".encoder.layer." in name]) == 2 * 16
    assert all(torch.equal(start[name], teacher[name]) for name in shared)
    plain = load_plm(str(tiny.plm)).get_parameter("encoder.layer.0.output.dense.weight")
    assert not torch.equal(
        start["news_encoder.text_encoder.plm.encoder.layer.0.output.dense.weight"], plain
    )
    assert not torch.equal(
        start["news_encoder.text_encoder.dense.weight"],
        teacher["news_encoder.text_encoder.dense.weight"],
    )


def test_more_teachers_than_copies_are_refused_by_name(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"num_teachers=3 .*got 2"):
        tell(tiny, num_teachers=3)


def test_the_corpus_is_read_once_for_all_stages(tiny: Tiny, tmp_path, monkeypatch) -> None:
    """A teacher for each copy would hold the whole corpus M times in memory."""
    made: list[object] = []
    plain = articles.read_corpus
    monkeypatch.setattr(articles, "read_corpus", lambda path: made.append(path) or plain(path))
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text(
        "".join(f"A{n}\t{title}\t{title} {title}\n" for n, title in enumerate(titles()))
    )
    tell(tiny, post_train_corpus=str(corpus))
    assert made == [corpus]


def test_a_stage_that_begins_anew_is_not_complete(tiny: Tiny, monkeypatch) -> None:
    """Killed now, it would be taken for finished, with half-trained weights."""
    config = tiny.config()
    first = run_of(config).make(Stage("PLMNR", PLMNR))
    metrics = first.folder / "metrics.json"
    assert metrics.is_file()
    (first.folder / "model.safetensors").write_bytes(b"cut off")
    monkeypatch.setattr(factory, "find_trainer", lambda cls: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_of(config).make(Stage("PLMNR", PLMNR))
    assert not metrics.exists()


def test_the_same_run_gives_the_same_weights(tiny: Tiny) -> None:
    weights = []
    for fresh in (False, True):
        config = tiny.config(plm_dropout=0.2, fresh=fresh)
        artifact = run_of(config).make(Stage("PLMNR", PLMNR))
        assert not artifact.reused
        weights.append((artifact.fingerprint, artifact.weights.load()))
    assert weights[0][0] == weights[1][0]
    assert equal(weights[0][1], weights[1][1])


def test_a_finished_stage_is_reused_and_a_damaged_one_made_anew(tiny: Tiny) -> None:
    """Teachers take hours; weights that were cut off would end the run that needs them."""

    def again(**settings: Any) -> Artifact:
        config = tiny.config(**settings)
        return run_of(config).make(Stage("PLMNR", PLMNR))

    first = again()
    reused = again(save_steps=1, show_progress=False)
    assert reused.reused
    assert reused._replace(reused=False) == first
    assert not again(epochs=3).reused
    (first.folder / "model.safetensors").write_bytes(b"cut off")
    repaired = again()
    assert not repaired.reused
    assert repaired.folder == first.folder


@pytest.mark.parametrize("damage", ["deleted", "cut off"])
def test_a_post_training_that_lost_a_copy_is_made_anew(tiny: Tiny, damage: str, caplog) -> None:
    """The run would end hours later, in an error about too few teachers."""
    config = tiny.config("TinyNewsRec")

    def again() -> Artifact:
        return run_of(config).make(Stage("post_train_teacher", TitleBodyMatcher))

    folder = again().folder
    copy = max((folder / "copies").iterdir())
    if damage == "deleted":
        copy.unlink()
    else:
        copy.write_bytes(b"cut off")
    repaired = again()
    assert not repaired.reused
    assert "trained again" in caplog.text
    assert copy in repaired.copy(0).files
    assert again().reused


def test_fewer_teachers_are_the_last_of_more(story: Story, tiny: Tiny) -> None:
    """A benchmark over the number of teachers would train each of them anew."""
    one = again(story, tiny, num_teachers=1)
    reused = {a.name: a.reused for a in finished(one.run)}
    assert reused == {
        "post_train_teacher": True,
        "post_train_student": False,
        "finetune_teacher": True,
        "TinyNewsRec": False,
    }
    kept, all_of_them = (told.artifacts("finetune_teacher") for told in (one, story))
    assert kept[0].folder.name == all_of_them[0].folder.name


def test_a_variant_of_a_system_goes_through_its_stages(tiny: Tiny) -> None:
    """A user's subclass of TinyNewsRec would otherwise be trained without any teacher."""
    variant = type("Variant", (TinyNewsRec,), {})
    last = system(tiny.config(variant, **STAGE_SETTINGS))
    assert (last.name, last.model) == ("Variant", variant)
    assert [stage.name for stage in in_order(last)] == [
        *("post_train_teacher", "post_train_student", "finetune_teacher", "finetune_teacher"),
        "Variant",
    ]


class OtherSystem(TinyNewsRec):
    """A system of its own, under the same teachers."""


def test_teachers_are_shared_between_systems(story: Story, tiny: Tiny) -> None:
    """They are hours of work, and a benchmark of ten systems would train them ten times."""
    place = copied(story)
    config = tiny.config(OtherSystem, **{**STAGE_SETTINGS, "checkpoint_dir": place})
    other = run_of(config)
    other.make(system(config))
    assert [a.reused for a in finished(other)] == [True] * 4 + [False]


@pytest.mark.parametrize("put", [put_news_encoder, put_first_layers])
def test_a_start_that_does_not_fit_is_refused(tiny: Tiny, put) -> None:
    """The reference code goes on with what it has: nothing."""
    config = tiny.config("TinyNewsRec")
    made = run_of(config).make(Stage("PLMNR", PLMNR))
    model = tiny.world(num_hidden_layers=3).model
    with pytest.raises(ValueError, match="missing"):
        put(model, made.weights)


def test_another_language_model_is_another_stage(tmp_path: Path) -> None:
    """Its folder may be filled anew under the same name."""
    folder = write_bert(tmp_path / "plm", seed=1)
    first = content_of_language_model(str(folder))
    assert content_of_language_model(str(folder)) == first
    (folder / "tokenizer_config.json").write_text("{}")
    assert content_of_language_model(str(folder)) != first
    assert content_of_language_model("bert-base-uncased") == "bert-base-uncased"


# ----------------------------------------------------------------- what a change makes anew

ALL = ("post_train_teacher", "post_train_student", "finetune_teacher", "TinyNewsRec")


def made(story: Story) -> list[str]:
    """The stages that were trained, in their order."""
    return list(dict.fromkeys(a.name for a in finished(story.run) if not a.reused))


@pytest.mark.parametrize(
    ("settings", "stages_made"),
    [
        ({}, ()),
        ({"learning_rate": 2e-3}, ("TinyNewsRec",)),
        ({"finetune_teacher_max_steps": 2}, ("finetune_teacher", "TinyNewsRec")),
        ({"post_train_student_max_steps": 3}, ("post_train_student", "TinyNewsRec")),
        ({"post_train_student_negative_titles": "hard"}, ("post_train_student", "TinyNewsRec")),
        ({"post_train_student_temperature": 2.0}, ("post_train_student", "TinyNewsRec")),
        ({"post_train_teacher_negative_titles": "hard"}, ALL),
        ({"temperature": 2.0}, ("post_train_student", "TinyNewsRec")),
        ({"num_hidden_layers": 1}, ("post_train_student", "TinyNewsRec")),
        ({"num_teachers": 1}, ("post_train_student", "TinyNewsRec")),
        ({"seed": 1}, ALL),
    ],
    ids=str,
)
def test_a_change_makes_anew_what_sees_it_and_nothing_else(
    story: Story, tiny: Tiny, settings, stages_made
) -> None:
    """Teachers that take hours, trained again for a student's rate; or not, for a seed."""
    assert set(made(again(story, tiny, **settings))) == set(stages_made)


@pytest.mark.parametrize("change", ["news", "clicks"])
def test_changed_data_make_everything_anew_that_reads_them(
    story: Story, tiny: Tiny, tmp_path: Path, change: str
) -> None:
    """The same name and another content: yesterday's teachers for today's news."""
    copied = tmp_path / "data"
    shutil.copytree(tiny.data, copied)
    file = copied / DATASET / f"{DATASET}.{'item' if change == 'news' else 'train.inter'}"
    lines = file.read_text().splitlines()
    if change == "news":
        lines[5] = lines[5].replace("word", "other ", 1)
    else:
        del lines[-1]
    file.write_text("\n".join(lines) + "\n")
    remade = again(story, tiny, data_path=str(copied))
    # post-training reads no clicks
    assert made(remade) == list(ALL if change == "news" else ALL[2:])


# --------------------------------------------------------------------------- ablations


def test_without_stage_one_the_student_enters_stage_two_as_a_plain_language_model(
    story: Story, tiny: Tiny
) -> None:
    ablated = again(story, tiny, stage_one=False)
    assert [a.name for a in finished(ablated.run)] == [
        *("post_train_teacher", "finetune_teacher", "finetune_teacher", "TinyNewsRec")
    ]
    assert made(ablated) == ["TinyNewsRec"]  # its teachers are those of the whole method
    (start,) = ablated.start_of("TinyNewsRec")
    for name, value in load_plm(str(tiny.plm), 2).state_dict().items():
        assert torch.equal(start[f"news_encoder.text_encoder.plm.{name}"], value)
    (of_story,) = story.start_of("TinyNewsRec")
    assert not equal(of_encoder(start), of_encoder(of_story))
    tuned = [of_encoder(a.weights.load()) for a in story.artifacts("finetune_teacher")]
    (taught,) = ablated.teachers
    assert all(equal(one, other) for one, other in zip(taught, tuned, strict=True))
    assert ablated.losses == {"TinyNewsRec": ("distillation", "embedding", "target")}


def test_without_stage_one_the_student_starts_as_student_init_says(
    story: Story, tiny: Tiny
) -> None:
    """Beside a Stage I that began with the teacher's layers, the ablation must begin there too."""
    ablated = again(story, tiny, stage_one=False, student_init="teacher")
    teacher = story.artifacts("post_train_teacher")[0].weights.load()
    (start,) = ablated.start_of("TinyNewsRec")
    shared = [name for name in start if name.startswith("news_encoder.text_encoder.plm.")]
    assert all(torch.equal(start[name], teacher[name]) for name in shared)


def test_without_stage_two_the_student_of_stage_one_is_finetuned_alone(
    story: Story, tiny: Tiny
) -> None:
    ablated = again(story, tiny, stage_two=False)
    assert [a.name for a in finished(ablated.run)] == [*ALL[:2], "TinyNewsRec"]
    assert made(ablated) == ["TinyNewsRec"]
    assert ablated.losses == {"TinyNewsRec": ("target",)}
    assert ablated.teachers == []
    (start,) = ablated.start_of("TinyNewsRec")
    (student,) = story.artifacts("post_train_student")
    assert equal(of_encoder(start), of_encoder(student.weights.load()))
    rooms = {name.split(".")[0] for name in ablated.artifact.weights.load()}
    assert rooms == {"news_encoder", "user_encoder"}
    model, whole = last_model(ablated), last_model(story)
    assert type(model) is PLMNR
    assert model.parameter_count == whole.parameter_count


def test_without_both_stages_it_is_a_plmnr_of_the_students_size(tiny: Tiny) -> None:
    """The baseline of the ablation; any teacher would be made for nothing."""
    ablated = tell(tiny, stage_one=False, stage_two=False)
    assert [a.name for a in finished(ablated.run)] == ["TinyNewsRec"]
    config = tiny.config("PLMNR", num_hidden_layers=2, max_steps=3)
    plain = run_of(config).make(Stage("PLMNR", PLMNR))
    assert equal(ablated.artifact.weights.load(), plain.weights.load())
    assert ablated.artifact.valid == plain.valid


@pytest.mark.parametrize("removed", ["distillation", "embedding", "target"])
def test_without_a_loss_both_stages_train_without_it(
    story: Story, tiny: Tiny, removed: str
) -> None:
    """The paper's ablation; our definition: the loss is gone from both stages."""
    ablated = again(story, tiny, **{f"{removed}_loss_weight": 0})
    left = tuple(n for n in ("distillation", "embedding", "target") if n != removed)
    assert ablated.losses == {"post_train_student": left, "TinyNewsRec": left}
    for stage in ("post_train_student", "TinyNewsRec"):
        (artifact,) = ablated.artifacts(stage)
        names = [n for n in artifact.weights.load() if n.startswith("distillation.")]
        assert (names == []) == (removed == "embedding")


def test_a_loss_may_be_gone_from_one_stage_alone(story: Story, tiny: Tiny) -> None:
    ablated = again(story, tiny, post_train_student_embedding_loss_weight=0)
    assert ablated.losses["post_train_student"] == ("distillation", "target")
    assert ablated.losses["TinyNewsRec"] == ("distillation", "embedding", "target")


@pytest.mark.whole
def test_one_to_six_teachers(tiny: Tiny) -> None:
    """The paper's sweep over M: teachers are trained once for all of it."""
    settings = {"teacher_checkpoint_interval": 1, "post_train_teacher_epochs": 2}
    settings |= {"post_train_teacher_max_steps": 6, "finetune_teacher_max_steps": 1}
    finetuned: set[Path] = set()
    for count in (6, 1, 4):
        told = tell(tiny, num_teachers=count, **settings)
        assert [len(taught) for taught in told.teachers] == [count, count]
        teachers = told.artifacts("finetune_teacher")
        assert len(teachers) == count
        assert all(a.reused for a in teachers) == (count < 6)
        finetuned |= {a.folder for a in teachers}
    assert len(finetuned) == 6


@pytest.mark.parametrize("kind", ["random", "category", "in_batch", "hard"])
def test_every_kind_of_titles_serves_both_stages_of_post_training(
    story: Story, tiny: Tiny, kind: str
) -> None:
    """Each shows how often the own title is found, among the same ones in the validation."""
    told = again(story, tiny, negative_titles=kind)
    for stage in ("post_train_teacher", "post_train_student"):
        (artifact,) = told.artifacts(stage)
        assert 0 <= artifact.valid["accuracy"] <= 1
        held_out = story.artifacts(stage)[0].valid
        assert artifact.valid["impressions"] == held_out["impressions"]
    assert "accuracy" not in told.artifact.valid
    assert (made(told) == []) == (kind == "random")


def test_a_stage_that_another_process_trains_is_waited_for_and_reused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two systems of a benchmark want the same teachers: trained twice they cost twice as much."""
    config = tiny.config(max_steps=1, checkpoint_dir=str(tmp_path / "saved"))
    made = run_of(config).make(Stage("PLMNR", PLMNR))
    elsewhere = shutil.copytree(made.folder, tmp_path / "elsewhere")
    shutil.rmtree(made.folder)

    @contextmanager
    def after_the_other(place: Path, work: str) -> Iterator[None]:
        shutil.copytree(elsewhere, place)
        yield

    monkeypatch.setattr(run_module, "exclusive_lock", after_the_other)
    monkeypatch.setattr(Run, "_train", lambda *arguments: 1 / 0)
    found = run_of(config).make(Stage("PLMNR", PLMNR))
    assert (found.reused, found.folder, found.valid) == (True, made.folder, made.valid)


def test_a_finished_stage_needs_no_lock(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie where nothing can be written, or be read by many at once."""
    config = tiny.config(max_steps=1, checkpoint_dir=str(tmp_path / "saved"))
    run_of(config).make(Stage("PLMNR", PLMNR))
    monkeypatch.setattr(run_module, "exclusive_lock", lambda *arguments: 1 / 0)
    assert run_of(config).make(Stage("PLMNR", PLMNR)).reused

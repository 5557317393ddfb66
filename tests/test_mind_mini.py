from __future__ import annotations

import filecmp
import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from tools.mind_mini import Settings, data_sets, generate
from tools.mind_mini.__main__ import main
from tools.mind_mini.lexicon import themes
from tools.mind_mini.text import make_names
from tools.mind_mini.world import make_topics

pytestmark = pytest.mark.whole

DATASET = Path(__file__).resolve().parents[1] / "dataset"


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_the_size_of_chunks_changes_nothing(tmp_path: Path) -> None:
    """The memory of a machine would decide the data."""
    few = Settings(
        seed=5, news=600, users=800, impressions=99, valid_impressions=20, test_impressions=50
    )
    for chunk in (1, 97, 4096):
        generate(tmp_path / str(chunk), few, chunk=chunk)
    for file in files_of(tmp_path / "4096"):
        for chunk in ("1", "97"):
            assert filecmp.cmp(tmp_path / "4096" / file, tmp_path / chunk / file, shallow=False)


def test_impossible_sizes_are_all_reported_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--output={tmp_path / 'new'}", "--news=3", "--users=0"]) == 2
    assert re.search(r"news=3 .*users=0", capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes of mind-mini, its language model untrained."""
    folder = tmp_path_factory.mktemp("made")
    with data_sets.working_in(folder), pytest.MonkeyPatch.context() as patch:
        data_sets.write_data()
        vectors = data_sets.latent_semantics([*data_sets.texts(data_sets.RAW / "corpus.tsv")])
        patch.setattr(data_sets, "latent_semantics", lambda _: vectors)
        data_sets.write_language_model(folder / "mind-mini" / "language_model")
        data_sets.write_word_vectors(folder / "mind-mini" / data_sets.WORD_VECTORS, vectors)
    return folder / "mind-mini"


def test_mind_mini_is_what_its_script_makes(made: Path) -> None:
    """A hand-edited or outdated data set has the oracle of another one."""
    kept = DATASET / "mind-mini"
    assert files_of(made) == files_of(kept)
    for file in files_of(made):
        if file.name not in ("model.safetensors", data_sets.WORD_VECTORS):
            assert filecmp.cmp(made / file, kept / file, shallow=False), file


def test_its_word_vectors_are_what_its_script_makes(made: Path) -> None:
    """Which way an axis of latent semantic analysis points is up to the version of scikit-learn."""
    (words, cosines), (kept_words, kept) = (
        words_and_cosines(folder / data_sets.WORD_VECTORS)
        for folder in (made, DATASET / "mind-mini")
    )
    assert words == kept_words
    np.testing.assert_allclose(cosines, kept, atol=1e-3)  # they are rounded


def words_and_cosines(file: Path) -> tuple[list[str], np.ndarray]:
    """The words of a file of vectors, and how alike each two of them are."""
    lines = [line.split(" ") for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    numbers = np.array([numbers for _, *numbers in lines], dtype=np.float64)
    unit = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    return [word for word, *_ in lines], unit @ unit.T


def test_mind_mini_time_is_what_its_script_makes(tmp_path: Path) -> None:
    """A hand-edited or outdated data set has the oracle of another one."""
    made, kept = data_sets.make_time(tmp_path), DATASET / "mind-mini-time"
    assert files_of(made) == files_of(kept)
    for file in files_of(made):
        assert filecmp.cmp(made / file, kept / file, shallow=False), file
    assert sum((kept / file).stat().st_size for file in files_of(kept)) < 1_000_000
    vocabulary = (DATASET / "mind-mini" / "language_model" / "vocab.txt").read_text().split()
    read = [row[3] for row in rows(kept / "mind-mini-time.item")[1:]]
    assert {*data_sets.words(" ".join(read))} <= {*vocabulary}


def test_its_language_model_can_be_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would know how it was made. Few articles, two steps."""
    few = data_sets.SETTINGS._replace(
        news=600, users=50, impressions=99, valid_impressions=20, test_impressions=50, corpus=150
    )
    monkeypatch.setattr(data_sets, "SETTINGS", few)
    made = data_sets.make(tmp_path, {**data_sets.PRETRAINING, "pretrain_teacher_max_steps": 2})
    assert files_of(made) == files_of(DATASET / "mind-mini")


def test_the_language_model_has_learned_which_words_go_together() -> None:
    """On a random language model training before finetuning hurts, and zero-shot is chance."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = DATASET / "mind-mini" / "language_model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    table = model.get_input_embeddings().weight.detach()
    table = torch.nn.functional.normalize(table - table.mean(0), dim=1)
    subjects = [[w for c in theme.concepts for w in c.title + c.body] for theme in themes()]
    vectors = [table[tokenizer.convert_tokens_to_ids(words)] for words in subjects]
    means = torch.stack([of_subject.mean(0) for of_subject in vectors])
    nearest = [(of_subject @ means.T).argmax(1) for of_subject in vectors]
    same = [float((found == number).float().mean()) for number, found in enumerate(nearest)]
    assert np.mean(same) > 0.9


def test_more_articles_than_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A StopIteration after minutes says nothing."""
    monkeypatch.setattr("tools.mind_mini.lexicon.SYLLABLES", ("ba", "bo"))
    with pytest.raises(ValueError, match="--news expects fewer articles"):
        make_names(1, make_topics(1), 100_000)

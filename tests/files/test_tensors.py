from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from recbole_tinynews.files.tensors import check_weights, load_into, load_weights, save_weights
from recbole_tinynews.files.whole import leftovers


class Opened:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


def test_a_pickle_in_disguise_is_refused_and_not_opened(tmp_path: Path) -> None:
    """Loading somebody's model must not run their code."""
    place, trace = tmp_path / "model.safetensors", tmp_path / "opened"
    place.write_bytes(pickle.dumps(Opened(trace)))
    with pytest.raises(ValueError, match="safetensors format"):
        load_weights(place)
    torch.save({"a": torch.zeros(1)}, place)
    with pytest.raises(ValueError, match="safetensors format"):
        load_weights(place)
    assert not trace.exists()


def test_what_a_kill_leaves_of_a_write_is_found_as_a_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Safetensors writes ``.tmpXXXXXX`` beside its file, which stayed in the stage for good."""
    written: list[Path] = []

    def killed(tensors, file, metadata) -> None:
        written.append(Path(file).with_name(".tmp4JGBlb"))
        written[0].write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_tinynews.files.tensors.save_file", killed)
    monkeypatch.setattr("recbole_tinynews.files.whole.remove", lambda place: None)
    with pytest.raises(KeyboardInterrupt):
        save_weights({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert leftovers(tmp_path / "model.safetensors") == [written[0].parent]


@pytest.mark.parametrize("kept", [0, 5, -1])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    place = tmp_path / "model.safetensors"
    save_weights({"a": torch.zeros(100)}, place)
    place.write_bytes(place.read_bytes()[:kept])
    with pytest.raises(ValueError, match="cannot be read"):
        load_weights(place)


def test_no_flipped_bit_is_read_as_a_weight(tmp_path: Path) -> None:
    """A resumed training would end with other weights, and nobody could say why."""
    place = tmp_path / "model.safetensors"
    weights = {"a": torch.randn(2, 3), "b": torch.tensor(True), "c": torch.randn(4).bfloat16()}
    save_weights(weights, place)
    whole = place.read_bytes()
    for bit in range(0, 8 * len(whole), 5):  # every byte, every place in one
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        place.write_bytes(damaged)
        try:
            loaded = load_weights(place)
        except ValueError:
            continue
        assert loaded.keys() == weights.keys()  # it is in the name of the checksum
        assert all(torch.equal(loaded[name], value) for name, value in weights.items())
        assert all(loaded[name].dtype == value.dtype for name, value in weights.items())


def test_a_tensor_with_several_names_is_written_once(tmp_path: Path) -> None:
    """Word vectors are most of a recommender, and each view has them under a name of its own."""
    words, place = torch.randn(1000, 10), tmp_path / "deep" / "model.safetensors"
    weights = {"a.words": words, "b.words": words, "other": words.clone(), "part": words[:10]}
    weights |= {"none": torch.zeros(0), "no": torch.zeros(0), "turned": torch.randn(2, 3).T}
    weights |= {"one": torch.tensor(1.5), "whole": torch.arange(3)}
    save_weights(weights, place)
    loaded = load_weights(place)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    assert load_file(place).keys() == weights.keys() - {"b.words"}
    assert place.stat().st_size < 4 * (2 * words.numel() + 100) + 2000
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_the_same_weights_are_the_same_file(tmp_path: Path) -> None:
    """A run that was killed would seem to end with other weights than one that was not."""
    words = torch.ones(3)
    written = set()
    for number in range(30):  # several entries of metadata would lie in a random order
        place = tmp_path / f"{number}.safetensors"
        save_weights({"a.words": words, "b.words": words}, place)
        written.add(place.read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize(
    "about",
    [
        *("{", "[]", "3", "{}", "[" * 100_000),  # the last was a RecursionError
        *(f'{{"shared": {names}}}' for names in ("3", '{"b": "c"}', '{"b": ["a"]}')),
    ],
)
def test_names_that_stand_for_nothing_are_refused(tmp_path: Path, about: str) -> None:
    """A file may be a stranger's, and a traceback would not say which one it is."""
    place = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(2)}, place, {"about": about})
    with pytest.raises(ValueError, match=f"{place} was changed"):
        load_weights(place)


def test_hundreds_of_thousands_of_empty_tensors_are_refused_at_once(tmp_path: Path) -> None:
    """A stranger's file of 20 MB kept ``load`` busy for minutes."""
    place = tmp_path / "model.safetensors"
    empty = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    header = f"{{{','.join(f'{chr(34)}{n}{chr(34)}:{empty}' for n in range(300_000))}}}".encode()
    place.write_bytes(len(header).to_bytes(8, "little") + header)
    started = time.monotonic()
    for read in (load_weights, check_weights):
        with pytest.raises(ValueError, match=r"a header of 1[0-9],"):
            read(place)
    assert time.monotonic() - started < 1


def test_weights_of_others_are_read_and_those_that_are_not_there_named(tmp_path: Path) -> None:
    """Others' have no checksum."""
    with pytest.raises(FileNotFoundError, match="Train the model first"):
        load_weights(tmp_path / "model.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert torch.equal(load_weights(tmp_path / "model.safetensors")["a"], torch.ones(2))


@pytest.mark.parametrize("error", [OSError, SafetensorError])  # of the system, of safetensors
def test_a_failed_write_leaves_the_former_file(tmp_path: Path, monkeypatch, error) -> None:
    """A full disk while saving would destroy the best weights."""
    place = tmp_path / "model.safetensors"
    save_weights({"a": torch.ones(1)}, place)

    def full(tensors, file, metadata) -> None:
        Path(file).write_bytes(b"half")
        raise error(*([28] if error is OSError else []), "No space left on device (os error 28)")

    monkeypatch.setattr("recbole_tinynews.files.tensors.save_file", full)
    with pytest.raises(OSError, match=r"No space.*: .*model\.safetensors") as raised:
        save_weights({"a": torch.zeros(1)}, place)
    assert raised.value.errno == 28  # by which a search knows that its trial is not to blame
    assert load_weights(place)["a"] == 1
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("0.weight"), r"missing \['0.weight'\]"),
        (lambda w: w.update({"2.weight": torch.zeros(1)}), r"unexpected \['2.weight'\]"),
        (lambda w: w.update({"x" * 1_000_000: torch.zeros(1)}), "unexpected"),
        (lambda w: w.update({"0.weight": torch.zeros(2, 9)}), r"0.weight \(2, 9\) for \(2, 3\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message: str) -> None:
    """The reference code loads nothing and continues, as all names have another prefix."""
    module = nn.Sequential(nn.Linear(3, 2))
    before = module[0].weight.clone()
    weights = {name: value + 1 for name, value in module.state_dict().items()}
    change(weights)
    with pytest.raises(ValueError, match=message) as refused:
        load_into(module, weights, Path("model.safetensors"))
    assert len(str(refused.value)) < 1_000  # a service would log it whole at each start
    assert torch.equal(module[0].weight, before)


def test_only_what_has_the_prefix_is_loaded_and_all_of_it(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    weights = {"news.weight": torch.ones(1, 1), "news.bias": torch.ones(1)}
    load_into(module, {**weights, "user.x": torch.zeros(1)}, tmp_path, prefix="news.")
    assert module.weight == module.bias == 1
    with pytest.raises(ValueError, match="missing"):
        load_into(module, {"weight": torch.ones(1, 1), "bias": torch.ones(1)}, tmp_path, "news.")


def test_others_may_read_weights_as_they_may_read_any_file(tmp_path: Path) -> None:
    """A colleague on the same machine could see the student's file, and not load it."""
    save_weights({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "any").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1

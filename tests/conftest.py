"""Fixtures for all tests. Nothing slow is imported here: pytest-xdist's controller reads it too."""

from __future__ import annotations

import copyreg
import io
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from recbole_tinynews.cli import slow_imports

if TYPE_CHECKING:
    from tiny import Tiny

    from recbole_tinynews.pipeline.factory import RecBoleFactory

# Read when transformers and torch are imported, here and in processes that a test starts.
os.environ["HF_HUB_OFFLINE"] = "1"  # no test downloads anything
os.environ["OMP_NUM_THREADS"] = "1"  # the tensors of unit tests are too small for threads
# A shell ignores Ctrl-C for jobs in the background, and what a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("tests", deadline=None)  # a busy machine is no mistake
settings.register_profile("once", deadline=None, max_examples=10)
settings.load_profile("tests")
SHIPPED_START_STEPS = 800


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--once", action="store_true", help="first values of most, ten of a property")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Looking for garbage in what was imported took a twentieth of the time."""
    if session.config.getoption("once"):
        settings.load_profile("once")
    with slow_imports():
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests first: of two workers, none waits at the end for one of the other's."""
    if config.getoption("once"):
        all_of = "tests/encoder", "tests/test_contract"  # code of torch and transformers
        names = [i.nodeid if i.nodeid.startswith(all_of) else i.nodeid.split("[")[0] for i in items]
        items[:] = dict(zip(names[::-1], items[::-1], strict=True)).values()  # the first of a name
    items.sort(key=lambda item: not {"whole", "real"} & {mark.name for mark in item.iter_markers()})


@pytest.fixture(autouse=True)
def _own_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole writes logs and weights into the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _own_torch_state() -> Iterator[None]:
    """The same random numbers each time, so that a tolerance holds in every run or in none.

    Importing RecBole's SINE, as looking SASRec up and test files do, turns on anomaly detection:
    later tests would train five times as slowly, and fp16 would stop at an overflow.
    """
    import torch

    torch.manual_seed(0)
    torch.autograd.set_detect_anomaly(False)
    yield
    torch.autograd.set_detect_anomaly(False)


@pytest.fixture(autouse=True)
def _closed_tensorboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The first event of a trainer opens a writer, whose threads would outlive its test."""
    from recbole_tinynews.trainer.stage_events import StageEvents

    writers: list[StageEvents] = []
    made = StageEvents.__init__

    def opened(self: StageEvents, *arguments: object, **named: object) -> None:
        made(self, *arguments, **named)
        writers.append(self)

    monkeypatch.setattr(StageEvents, "__init__", opened)
    yield
    for writer in writers:
        writer.close()


@pytest.fixture(scope="session", autouse=True)
def _language_models_read_once() -> Iterator[None]:
    """Reading a tiny language model takes transformers longer than a copy of it.

    A folder whose files have changed is read again, and so are random weights and what fails.
    """
    import torch

    from recbole_tinynews.encoder import plm_files

    plain = plm_files.read_pretrained
    kept: dict[Any, tuple[str, bytes]] = {}
    as_arrays = copyreg.dispatch_table | {
        torch.Tensor: lambda tensor: (torch.from_numpy, (tensor.numpy(),)),
        torch.nn.Parameter: lambda each: (torch.nn.Parameter, (each.data, each.requires_grad)),
    }

    def read(auto: Any, source: str, part: str, **options: Any) -> Any:
        if not Path(source).is_dir():
            return plain(auto, source, part, **options)
        files = [(file, file.stat()) for file in sorted(Path(source).iterdir())]
        config = vars(options["config"]) if "config" in options else None
        state = [(file, stat.st_mtime_ns, stat.st_size) for file, stat in files]
        key = repr((config, sorted(options), state))
        if kept.get(auto, ("", b""))[0] != key:
            kept.pop(auto, None)
            before = torch.get_rng_state()
            made = plain(auto, source, part, **options)
            if not torch.equal(before, torch.get_rng_state()):  # it drew weights that are missing
                return made
            pickler = pickle.Pickler(file := io.BytesIO())
            pickler.dispatch_table = as_arrays
            pickler.dump(made)
            kept[auto] = key, file.getvalue()  # read again in an eighth of the time of a deep copy
        return pickle.loads(kept[auto][1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plm_files, "read_pretrained", read)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_start_steps() -> Iterator[None]:
    """The term of popularity starts in a twentieth of the time; see ``all_start_steps``."""
    from recbole_tinynews.model import time_features

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_features, "START_STEPS", SHIPPED_START_STEPS // 20)
        yield


@pytest.fixture
def all_start_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many steps as users have, for tests of what they reach."""
    from recbole_tinynews.model import time_features

    monkeypatch.setattr(time_features, "START_STEPS", SHIPPED_START_STEPS)


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> Iterator[None]:
    """It imports what processes share, once for all."""
    from recbole_tinynews.benchmark import jobs

    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            multiprocessing.set_forkserver_preload(["preloaded_in_tests"])
            patch.setattr(jobs, "START_METHOD", "forkserver")
        places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))  # what the server has
        yield


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import write_bert

    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import write_roberta

    return write_roberta(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="session")
def tiny(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    from tiny import Tiny, write_dataset

    return Tiny(bert_folder, write_dataset(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def all_four_stages(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint folder of a small, finished Tiny-NewsRec run; copy it before writing to it."""
    from tiny import run_of

    from recbole_tinynews.pipeline.systems import system

    folder = tmp_path_factory.mktemp("all_four_stages")
    config = tiny.config("TinyNewsRec", checkpoint_dir=str(folder / "saved"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_of(config).make(system(config))
    return folder / "saved"


@pytest.fixture
def saved(all_four_stages: Path, tmp_path: Path) -> Path:
    """A copy of ``all_four_stages``, to damage or to train other systems in."""
    return Path(shutil.copytree(all_four_stages, tmp_path / "saved"))


@pytest.fixture
def stock(tiny: Tiny) -> Callable[..., RecBoleFactory]:
    """Make the factory of one of RecBole's own models on the tiny data set; nothing is trained."""
    from recbole_tinynews.data.dataset import NewsDataset
    from recbole_tinynews.pipeline.config import NewsConfig
    from recbole_tinynews.pipeline.factory import RecBoleFactory

    def started(model: str | type, **settings: object) -> RecBoleFactory:
        config = NewsConfig(model, "tiny", config_dict=tiny.stock_settings(**settings))
        return RecBoleFactory(config, NewsDataset(config))

    return started

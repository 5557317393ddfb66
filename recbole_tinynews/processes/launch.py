"""Starts several processes of a program, as torchrun does."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PARENT_CHECK = 0.5  # seconds
# torchrun, with a traceback of its own even where a process has ended with a message
ENDS_LOGGED_BY = "torch.distributed.elastic.multiprocessing.api"
# in a program of its own, from which the processes of a run are forked
PRELOADED = "recbole_tinynews.preloaded"
PACKAGE_ROOT = Path(__file__).parents[2]


class ProcessFailedError(RuntimeError):
    """A process has ended with an error, which it has shown itself; all others were ended."""


class Machines(NamedTuple):
    """Where the processes run.

    Attributes:
        here: processes on this machine.
        everywhere: processes on all machines, which have equally many.
        before: processes on the machines before this one.
        address, port: of the first machine; they are not used if there is one alone.
    """

    here: int
    everywhere: int
    before: int = 0
    address: str = "localhost"
    port: int = 5678

    @classmethod
    def from_flags(
        cls,
        nproc: str | None,
        world_size: str | None,
        group_offset: str | None,
        ip: str | None,
        port: str | None,
    ) -> Machines:
        """RecBole's flags, of which those not given are ``None``.

        Raises:
            ValueError: one is no number, or the processes don't fit equal machines.
        """
        here = _number("nproc", nproc, 1, least=1)
        everywhere = _number("world_size", world_size, -1, least=-1)
        everywhere = here if everywhere < 1 else everywhere  # RecBole's -1
        before = _number("group_offset", group_offset, 0, least=0)
        if everywhere % here or before % here or before + here > everywhere:
            raise ValueError(
                f"--nproc={here} --world_size={everywhere} --group_offset={before} expect machines "
                "with nproc processes each, of which group_offset are on the machines before this "
                "one. Make world_size and group_offset multiples of nproc, or start torchrun."
            )
        place = ip or cls._field_defaults["address"], _number("port", port, 5678, least=1)
        return cls(here, everywhere, before, *place)

    def flags(self) -> list[str]:
        """Those of torchrun."""
        if self.everywhere == self.here:
            return ["--standalone", f"--nproc_per_node={self.here}"]  # on a port that is free
        return [
            f"--nproc_per_node={self.here}",
            f"--nnodes={self.everywhere // self.here}",
            f"--node_rank={self.before // self.here}",
            f"--master_addr={self.address}",
            f"--master_port={self.port}",
        ]


def process_label() -> str:
    """Which process a message comes from, where there are several."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return f" (process {os.environ.get('RANK', 0)})" if several else ""


def launch(
    machines: Machines,
    module: str,
    arguments: Sequence[str],
    check: Callable[[], None] | None = None,
) -> None:
    """Run a module as a program in several processes, and wait for them.

    They share the threads of this machine. If one of them ends with an error or is killed, the
    others are ended.

    Args:
        machines: how many processes.
        module: what each of them runs.
        arguments: its command line.
        check: called first, in a process of its own: what it imports takes no memory of this one.

    Raises:
        Exception: what ``check`` raises.
        ProcessFailedError: one of them has failed.
        KeyboardInterrupt: Ctrl-C has ended them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // machines.here)))
    # of a program that was started by the path of a file, they would not find the package
    paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    method = start_method()
    if check is not None:
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as other:
            other.submit(check).result()
    logging.getLogger(ENDS_LOGGED_BY).addFilter(_has_traceback)
    program = [f"--start-method={method}", "--run-path", _script(module)]
    try:
        with _signals_as_before():
            main([*machines.flags(), *program, *arguments])
    except ChildFailedError as problem:
        rank, failure = problem.get_first_failure()
        raise ProcessFailedError(
            f"process {rank} of {machines.everywhere} {_end(failure.exitcode)}"
        ) from problem
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from stop
        raise ProcessFailedError(f"all were stopped by signal {int(stop.sigval)}") from stop


def end_with_parent() -> None:
    """Exit, from now on, when the process that started this one is gone, and cannot end it."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    starter = multiprocessing.parent_process()
    if starter is not None:  # which may have let another process fork this one
        starter.join()
    else:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK)
    os._exit(1)  # the same command resumes the work


def _has_traceback(record: logging.LogRecord) -> bool:
    """Whether it tells of an error that the process itself has not shown."""
    from torch.multiprocessing import ProcessExitedException

    return not (record.exc_info and isinstance(record.exc_info[1], ProcessExitedException))


def _script(module: str) -> str:
    """Where a module lies: torchrun forks for the path of a program alone."""
    found = find_spec(module)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"launch expects a module, got {module}.", name=module)
    return found.origin


def start_method() -> str:
    """How processes come to be: as forks of one that has imported everything, where that works.

    They need not import it again, and share its memory, half a gigabyte. What a GPU's driver has
    begun does not survive a fork.
    """
    from torch.cuda import is_available

    if sys.platform != "linux" or is_available():
        return "spawn"
    multiprocessing.set_forkserver_preload([PRELOADED])
    return "forkserver"


@contextmanager
def _signals_as_before() -> Iterator[None]:
    """Torchrun leaves its own handlers behind, and Ctrl-C would no longer be KeyboardInterrupt."""
    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), signal.SIG_DFL if handler is None else handler)


def _end(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"


def _number(flag: str, text: str | None, default: int, least: int) -> int:
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise ValueError(f"--{flag} expects a whole number of at least {least}, got {text}.")
    return number

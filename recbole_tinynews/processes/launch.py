"""Start several processes of a program by torchrun, from RecBole's flags.

Unlike under torchrun's own command, processes fork from one that has imported the package (a second
one takes 0.48 instead of 1.06 GiB), and errors, Ctrl-C and lost processes end in one message.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.version import VERSION

# for GNU's OpenMP, which torch's CPU builds use; see benchmarks/thread_waiting.py
SPINS = "500"


def spin_briefly() -> None:
    """Let idle threads sleep, as spinning slows busy processes; call it before importing torch."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def command_parser(**named: Any) -> ArgumentParser:
    """A command's parser, with ``--version``; make it before importing torch."""
    spin_briefly()
    parser = ArgumentParser(allow_abbrev=False, **named)
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


PARENT_CHECK = 0.5  # seconds
# torchrun's logger of ended processes: prints a traceback even after a process's own message
ENDS_LOGGED_BY = "torch.distributed.elastic.multiprocessing.api"
# imported by the fork server
PRELOADED = "recbole_tinynews.preloaded"
PACKAGE_ROOT = Path(__file__).parents[2]


class ProcessFailedError(RuntimeError):
    """A process failed, after printing its own error; all others were ended."""


class Machines(NamedTuple):
    """Processes ``here``, ``everywhere`` and on earlier machines; address of the first machine."""

    here: int
    everywhere: int
    before: int = 0
    address: str = "localhost"
    port: int = 5678

    @classmethod
    def from_flags(cls, given: Mapping[str, Any]) -> Machines:
        """The machines of RecBole's flags; ``ValueError`` if malformed or of unequal machines."""
        here = _number(given, "nproc", 1, least=1)
        everywhere = _number(given, "world_size", -1, least=-1)
        everywhere = here if everywhere < 1 else everywhere  # RecBole's -1
        before = _number(given, "group_offset", 0, least=0)
        if everywhere % here or before % here or before + here > everywhere:
            raise ValueError(
                f"--nproc={here} --world_size={everywhere} --group_offset={before} expect machines "
                "with nproc processes each, of which group_offset are on the machines before this "
                "one. Make world_size and group_offset multiples of nproc, or start torchrun."
            )
        address = given["ip"] or cls._field_defaults["address"]
        return cls(here, everywhere, before, address, _number(given, "port", 5678, least=1))

    def flags(self) -> list[str]:
        """Flags of torchrun."""
        if self.everywhere == self.here:
            return ["--standalone", f"--nproc_per_node={self.here}"]  # on a free port
        return [
            f"--nproc_per_node={self.here}",
            f"--nnodes={self.everywhere // self.here}",
            f"--node_rank={self.before // self.here}",
            f"--master_addr={self.address}",
            f"--master_port={self.port}",
        ]


def process_label() -> str:
    """Number of this process for messages; empty if it is the only one."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return f" (process {os.environ.get('RANK', 0)})" if several else ""


def launch(
    machines: Machines,
    program: str | Path,
    arguments: Sequence[str],
    check: Callable[[], None] | None = None,
) -> None:
    """Run a file as a program in several processes, and wait for them.

    They share this machine's threads; if one fails, the others are ended. ``check`` runs first, in
    a separate process to save memory here; its exceptions are raised. ``ProcessFailedError`` is
    raised if a process failed or they cannot connect, ``KeyboardInterrupt`` for Ctrl-C.
    """
    spin_briefly()
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // machines.here)))
    # for packages beside a script that was started by its path
    paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    method = start_method()
    if check is not None:
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as other:
            other.submit(check).result()
    logging.getLogger(ENDS_LOGGED_BY).addFilter(_has_traceback)
    # otherwise torchrun leaves an empty log folder in the temporary folder
    options = [f"--log-dir={os.devnull}", f"--start-method={method}"]
    options += ["--run-path", str(program)]  # torchrun only forks for a program's path
    try:
        with _restored_signals():
            main([*machines.flags(), *options, *arguments])
    except ChildFailedError as problem:
        rank, failure = problem.get_first_failure()
        how = how_it_ended(failure.exitcode)
        raise ProcessFailedError(f"process {rank} of {machines.everywhere} {how}") from problem
    except DistError as problem:
        raise ProcessFailedError(
            f"the processes cannot connect at {machines.address}:{machines.port}: "
            f"{str(problem).splitlines()[0]} Name the first machine's address and a free port of "
            "it, with --ip and --port, on all machines."
        ) from problem
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from stop
        raise ProcessFailedError(f"all were stopped by signal {int(stop.sigval)}") from stop


def end_with_parent() -> None:
    """Exit when the parent process ends."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    starter = multiprocessing.parent_process()
    if starter is not None:  # os.getppid() may be the fork server
        starter.join()
    else:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK)
    os._exit(1)  # the same command resumes


def _has_traceback(record: logging.LogRecord) -> bool:
    """Whether the error has not been printed by the process itself."""
    from torch.multiprocessing import ProcessExitedException

    return not (record.exc_info and isinstance(record.exc_info[1], ProcessExitedException))


def start_method() -> str:
    """``forkserver`` on Linux without a GPU (fast, shares half a gigabyte), otherwise ``spawn``."""
    from torch.cuda import is_available

    if sys.platform != "linux" or is_available():
        return "spawn"
    multiprocessing.set_forkserver_preload([PRELOADED])
    return "forkserver"


@contextmanager
def _restored_signals() -> Iterator[None]:
    """Restore signal handlers, since with torchrun's own Ctrl-C would not interrupt."""
    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), signal.SIG_DFL if handler is None else handler)


def how_it_ended(code: int) -> str:
    """Describe an exit code."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"


def _number(given: Mapping[str, Any], flag: str, default: int, least: int) -> int:
    text = given[flag]
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise ValueError(f"--{flag} expects a whole number of at least {least}, got {text}.")
    return number

"""Start several processes of a module on this machine, by torchrun."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

PARENT_CHECK = 0.5  # seconds
NAMES = "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"  # the last two are not on all systems
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
PACKAGE_ROOT = Path(__file__).parents[2]


def launch(nproc: int, module: str, arguments: Sequence[str]) -> None:
    """Run a module as a program in ``nproc`` processes of this machine, and wait for them.

    They share its threads; if one fails, the others are ended. Raises ``ValueError`` if one failed,
    after it has printed its own error, ``KeyboardInterrupt`` for Ctrl-C.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // nproc)))
    # for packages beside a script that was started by its path
    paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    log = f"--log-dir={os.devnull}"  # torchrun would leave an empty folder
    handlers = {number: signal.getsignal(number) for number in SIGNALS}  # torchrun keeps its own
    try:
        # standalone: on a free port
        main(["--standalone", f"--nproc_per_node={nproc}", log, "-m", module, *arguments])
    except ChildFailedError as problem:
        rank, failure = problem.get_first_failure()
        raise ValueError(f"process {rank} {how_it_ended(failure.exitcode)}") from problem
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from stop
        raise ValueError(f"all were stopped by signal {int(stop.sigval)}") from stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def end_with_parent() -> None:
    """Exit when the parent process ends."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK)
    os._exit(1)  # the same command resumes


def how_it_ended(code: int) -> str:
    """Describe an exit code."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"

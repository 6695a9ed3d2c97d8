"""The process that runs the stages: `dvc`, or `fairtune.parallel`; trainings end when it is gone.

A process is told by its number and its start, as the system gives numbers out again.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# In the environment of what `fairtune.parallel` starts: the process that all of it belongs to.
RUN = "FAIRTUNE_RUN"
# In that of what `fairtune.cluster` starts: where the node keeps the code that its tasks copy.
CODE = "FAIRTUNE_CODE"
# A training whose run is gone has this long to end by itself.
PATIENCE_SECONDS = 10.0
# prctl's number of the signal that a process gets at its parent's death (linux/prctl.h).
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Process:
    """A running process."""

    pid: int
    started: int
    """Clock ticks from the start of the system."""

    def __str__(self) -> str:
        return f"{self.pid}:{self.started}"

    def descriptor(self) -> int | None:
        """Return a descriptor that can be read once the process is gone; None if it is already.

        Raises:
            OSError: the system has none.
        """
        try:
            found = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if find(self.pid) == self:
            return found
        os.close(found)
        return None


def code_folder() -> str:
    """Return the folder whose code this process runs: the working one, or the one it copies."""
    return os.environ.get(CODE) or os.getcwd()


def can_watch() -> bool:
    """Return whether this system tells of processes and their end: Linux does."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and find(os.getpid()) is not None


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it is gone, however that ended.

    Linux alone does it; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none where there is no such file."""
    try:
        # The name, in brackets, may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def find(pid: int) -> Process | None:
    """Return the process of this number; None if it is gone, or dead and not yet waited for."""
    fields = _stat(pid)
    return None if not fields or fields[0] in "ZX" else Process(pid, int(fields[19]))


def parse(text: str) -> Process | None:
    """Return the process that this names; None if it is gone."""
    pid, _, started = text.partition(":")
    if not (pid.isdigit() and started.isdigit()):
        return None
    found = find(int(pid))
    return found if found == Process(int(pid), int(started)) else None


def ancestors() -> Iterator[int]:
    """Yield the number of this process's parent, of its parent, and so on."""
    fields = _stat(os.getpid())
    while fields and int(fields[1]) > 0:
        yield int(fields[1])
        fields = _stat(int(fields[1]))


def _is_dvc(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    # `dvc repro`, `python /bin/dvc repro` or `python -m dvc repro`.
    return any(Path(word).name == "dvc" for word in words[:2]) or words[1:3] == ["-m", "dvc"]


def runners() -> list[Process]:
    """Return the processes that run the stages, the one that lives longest first.

    None at a shell, where a training belongs to nobody.
    """
    if not can_watch():
        return []
    widest = parse(os.environ.get(RUN, ""))
    nearest = next((find(pid) for pid in ancestors() if _is_dvc(pid)), None)
    return [one for one in (widest, nearest) if one is not None]


def end_with(processes: list[Process]) -> None:
    """End this process, as Ctrl-C would, when one of the others is gone."""
    try:
        descriptors = [one.descriptor() for one in processes]
    except OSError:  # an older system
        return
    if not descriptors:
        return

    def watch() -> None:
        poll = select.poll()
        alive = [one for one in descriptors if one is not None]
        for descriptor in alive:
            poll.register(descriptor, select.POLLIN)
        if len(alive) == len(descriptors):
            poll.poll()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

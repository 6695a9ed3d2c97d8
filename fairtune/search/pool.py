"""Run trials in processes of their own, as many at once as the device bears.

The first runs alone until it tells what it holds of the memory; from that follows the number. A
trial that finds no memory lowers it and is tried again, so that nothing is lost. All processes are
forked from this one, whose libraries are imported already, and end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from fairtune.core.errors import UserError, one_line
from fairtune.core.shortage import OUT_OF_MEMORY, is_out_of_memory
from fairtune.preload import owner
from fairtune.search.room import beside

FORK, SPAWN = "fork", "spawn"
# A process that is asked to end has this long before it is killed.
PATIENCE_SECONDS = 5.0

Work = Callable[[Any, Callable[[int, int], None]], Any]
"""Does one piece of work; tells the bytes of memory that it holds and that are free."""


@dataclass(kw_only=True)
class Running:
    """A piece of work under way."""

    item: Any
    process: Any
    pipe: Connection
    lane: int
    shared: bool
    """Whether it computes through the sharing of the GPU that may be at fault if it fails."""
    alone: bool
    """Whether none ran beside it at any time, so that none took the memory that it lacks."""


@dataclass(kw_only=True)
class Pool:
    """Does pieces of work beside one another."""

    work: Work
    done: Callable[[Any, Any, int], None]
    """Is called with an item, what came of it, and the most that ran at once so far."""
    most: int
    """At once, whatever the memory bears."""
    cores: Sequence[int] = ()
    """Those to divide among the processes; empty leaves them all to each."""
    stop_sharing: Callable[[], bool] = lambda: False
    """Ends the sharing of the GPU after a failure; returns whether it was on."""
    sharing: bool = False
    label: str = ""
    limit: int = 1
    running: list[Running] = field(default_factory=list)
    at_once: int = 0

    def run(self, items: Sequence[Any]) -> None:
        """Do all pieces of work.

        Raises:
            UserError: one cannot be done: its message, or that a single one finds no memory.
        """
        waiting = list(items)
        self.most = max(1, min(self.most, len(waiting)))
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.limit:
                    self.start(waiting.pop(0))
                for pipe in wait([one.pipe for one in self.running]):
                    one = next(one for one in self.running if one.pipe is pipe)
                    again = self.hear(one)
                    if again is not None:
                        waiting.insert(0, again)
        finally:
            self.end()

    def start(self, item: Any) -> None:
        """Start one piece of work in a lane that is free."""
        taken = {one.lane for one in self.running}
        lane = next(number for number in range(self.most) if number not in taken)
        start = FORK if sys.platform == "linux" else SPAWN
        context: Any = multiprocessing.get_context(start)
        ours, theirs = context.Pipe(duplex=False)
        cores = self.cores_of(lane)
        process = context.Process(
            target=_do, args=(self.work, item, theirs, cores, os.getpid()), daemon=True
        )
        process.start()
        theirs.close()
        alone = not self.running
        for one in self.running:
            one.alone = False
        self.running.append(
            Running(
                item=item, process=process, pipe=ours, lane=lane, shared=self.sharing, alone=alone
            )
        )
        self.at_once = max(self.at_once, len(self.running))

    def cores_of(self, lane: int) -> list[int]:
        """Return the cores of a lane; none where they are not divided."""
        if not self.cores:
            return []
        width = max(1, len(self.cores) // self.most)
        first = lane * width % len(self.cores)
        return list(self.cores[first : first + width])

    def hear(self, one: Running) -> Any:
        """Take in what a process says; return its item where it is to be done again."""
        try:
            kind, content = one.pipe.recv()
        except EOFError:
            one.process.join()
            # The kernel ends with signal 9 what takes more memory than there is.
            killed = one.process.exitcode == -signal.SIGKILL
            kind = "memory" if killed else "failed"
            content = f"a trial ended with {one.process.exitcode}"
        if kind == "holds":
            if self.limit == 1:
                self.limit = min(self.most, 1 + beside(*content))
            return None
        self.running.remove(one)
        one.pipe.close()
        one.process.join()
        if kind == "done":
            self.done(one.item, content, self.at_once)
            return None
        return self.failed(one, kind, content)

    def failed(self, one: Running, kind: str, content: str) -> Any:
        """Return the item of a failed piece of work, to be done again with fewer beside it.

        Raises:
            UserError: it would fail again.
        """
        if kind == "memory":
            if one.alone:
                raise UserError(
                    f"{self.label}: {OUT_OF_MEMORY}, although a trial ran alone; lower "
                    "train.batch_size or encode.max_length, or end what else takes the memory"
                )
            self.limit = self.most = max(1, len(self.running))
            return one.item
        # A fault of one process that shares the GPU ends the others', too.
        if kind == "failed" and one.shared:
            if self.stop_sharing():
                print(f"search: the trials take turns on the GPU from now on: {content}")
            self.sharing = False
            return one.item
        raise UserError(f"{self.label}: {content}")

    def end(self) -> None:
        """End what is under way."""
        for one in self.running:
            one.process.terminate()
        for one in self.running:
            one.process.join(PATIENCE_SECONDS)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.pipe.close()
        self.running.clear()


def _do(work: Work, item: Any, pipe: Connection, cores: list[int], parent: int) -> None:
    """Do one piece of work in a process of its own, and send back what comes of it."""
    owner.end_with_parent()
    if sys.platform == "linux" and os.getppid() != parent:
        os._exit(1)
    # Ctrl-C reaches all processes of a terminal: the one that started this one answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    try:
        found = work(item, lambda held, free: pipe.send(("holds", (held, free))))
    except Exception as error:
        if is_out_of_memory(error):
            pipe.send(("memory", OUT_OF_MEMORY))
        elif isinstance(error, UserError):
            pipe.send(("mistake", str(error)))
        else:
            pipe.send(("failed", f"{type(error).__name__}: {one_line(error)[:200]}"))
    else:
        pipe.send(("done", found))

"""Call a function in a process of its own, so that its memory is its own and its end no other's.

The process is forked from a server that has imported all it needs (`fairtune.scaling.preload`): on
some machines the imports take longer than what is measured. Where forks cannot use CUDA, each
process starts from nothing.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fairtune.core.disk import chain
from fairtune.core.errors import UserError, one_line
from fairtune.core.shortage import OUT_OF_MEMORY, is_out_of_memory

BARRED_WORDS = ("forked subprocess", "initialization error")
"""Of torch and of CUDA, in a process forked after CUDA was touched."""
PRELOAD = "fairtune.scaling.preload"
FORK, SPAWN = "forkserver", "spawn"
LONGEST_NOTE = 120


class MeasureError(RuntimeError):
    """The point cannot be measured, and the parameters are not at fault."""


class BusyError(MeasureError):
    """Another process uses the device: the point can be measured when that has ended."""


def _call(module: str, function: str, keywords: dict[str, Any], pipe: Connection) -> None:
    """Run one function of a module and send back what it returns, or the error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    culprit = getattr(sys.modules.get(PRELOAD), "CULPRIT", None)
    if culprit is not None:
        pipe.send(("barred", f"importing {culprit} starts CUDA"))
        return
    try:
        pipe.send(("done", getattr(importlib.import_module(module), function)(**keywords)))
    except Exception as error:
        pipe.send(_reason(error))


def _reason(error: Exception) -> tuple[str, str]:
    """Return what an error is to the sweep: barred, busy, a note or a mistake, and its line."""
    if is_out_of_memory(error):
        return "note", OUT_OF_MEMORY
    said = " ".join(str(link).lower() for link in chain(error))
    if any(words in said for words in BARRED_WORDS):
        return "barred", one_line(error)[:LONGEST_NOTE]
    if isinstance(error, UserError):
        return "mistake", str(error)
    if isinstance(error, BusyError):
        return "busy", one_line(error)[:LONGEST_NOTE]
    return "note", one_line(error)[:LONGEST_NOTE]


@dataclass
class Isolation:
    """Calls functions apart, by their names: what is heavy is imported in that process alone."""

    tell: Callable[[str], None] = print
    """Takes the line that says why processes are not forked."""
    start: str = FORK if FORK in multiprocessing.get_all_start_methods() else SPAWN
    """How processes start."""

    def call(
        self, module: str, function: str, *, limit: float | None = None, **keywords: Any
    ) -> tuple[str, Any]:
        """Call a function of a module in a process of its own.

        Args:
            module: its dotted name.
            function: its name there.
            limit: seconds that it may take; None is no limit.
            keywords: what it is called with.

        Returns:
            `done` with the result, `mistake` with a UserError's text, `busy` where another process
            uses the device, or `note` with the reason: also where the system ended the process, or
            the limit did.
        """
        try:
            kind, content = self._once(module, function, limit, keywords)
        except (EOFError, ConnectionError) as error:  # the server itself has ended
            if self.start == SPAWN:
                raise
            kind, content = "barred", f"the fork server ended ({type(error).__name__})"
        if kind == "barred" and self.start != SPAWN:
            self.start = SPAWN
            self.tell(f"scaling: each process starts anew, which takes longer: {content}")
            kind, content = self._once(module, function, limit, keywords)
        return ("note" if kind == "barred" else kind), content

    def _once(
        self, module: str, function: str, limit: float | None, keywords: dict[str, Any]
    ) -> tuple[str, Any]:
        context: Any = multiprocessing.get_context(self.start)
        if self.start == FORK:
            context.set_forkserver_preload([PRELOAD])
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_call, args=(module, function, keywords, theirs), daemon=True
        )
        process.start()
        theirs.close()
        with ours:
            if not ours.poll(limit):
                process.kill()
                process.join()
                return "note", f"longer than {limit:g} s"
            try:
                kind, content = ours.recv()
            except EOFError:
                process.join()
                # The kernel ends with signal 9 what takes more memory than there is.
                killed = process.exitcode == -9
                return "note", OUT_OF_MEMORY if killed else f"ended with {process.exitcode}"
        process.join()
        return kind, content

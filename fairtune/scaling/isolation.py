"""Call a function in a process of its own, so that its memory is its own and its end no other's."""

from __future__ import annotations

import importlib
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

from fairtune.core.errors import UserError, one_line

OUT_OF_MEMORY = "out of memory"


def _call(module: str, function: str, keywords: dict[str, Any], pipe: Connection) -> None:
    """Run one function of a module and send back what it returns, or the error."""
    called = getattr(importlib.import_module(module), function)
    try:
        pipe.send(("done", called(**keywords)))
    except UserError as error:
        pipe.send(("mistake", str(error)))
    except Exception as error:
        # torch.OutOfMemoryError is a RuntimeError; so is the CPU allocator's.
        lack = isinstance(error, MemoryError) or any(
            words in str(error).lower() for words in (OUT_OF_MEMORY, "can't allocate memory")
        )
        pipe.send(("note", OUT_OF_MEMORY if lack else one_line(error)[:120]))


def apart(module: str, function: str, **keywords: Any) -> tuple[str, Any]:
    """Call a function of a module in a process of its own, by their names.

    By name, so that what is heavy in the module is imported in that process alone.

    Returns:
        `done` with the result, or `note` with the reason: also where the system ended the process.

    Raises:
        UserError: the parameters are not right; the sweep then stops.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(module, function, keywords, theirs))
    process.start()
    theirs.close()
    try:
        kind, content = ours.recv()
        process.join()
    except EOFError:
        process.join()
        # The kernel ends with signal 9 what takes more memory than there is.
        killed = process.exitcode == -9
        kind, content = "note", OUT_OF_MEMORY if killed else f"ended with {process.exitcode}"
    if kind == "mistake":
        raise UserError(content)
    return kind, content

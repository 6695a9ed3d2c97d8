"""What a point of the scaling sweep varies and what it took, and the process that measures it.

Apart from `fairtune.scaling`, which runs as a program: its child processes import this by name.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fairtune.errors import UserError, one_line

OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a point varies."""

    rows: int
    max_length: int
    batch_size: int
    width: int
    """Factor on the encoder's own width."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a point took."""

    seconds: float
    """Of one step, or of all steps of a pass where rows are varied."""
    memory_mib: float
    """Peak allocated on the GPU, or without one the peak resident memory of the process."""


def _call(function: str, keywords: dict[str, Any], pipe: Connection) -> None:
    """Run one function of `fairtune.sweep` and send back what it returns, or the error."""
    from fairtune import sweep

    try:
        pipe.send(("done", getattr(sweep, function)(**keywords)))
    except UserError as error:
        pipe.send(("mistake", str(error)))
    except Exception as error:
        # torch.OutOfMemoryError is a RuntimeError; so is the CPU allocator's.
        lack = isinstance(error, MemoryError) or any(
            words in str(error).lower() for words in (OUT_OF_MEMORY, "can't allocate memory")
        )
        pipe.send(("note", OUT_OF_MEMORY if lack else one_line(error)[:120]))


def apart(function: str, **keywords: Any) -> tuple[str, Any]:
    """Call a function of `fairtune.sweep` in a process of its own.

    Returns:
        `done` with the result, or `note` with the reason: also where the system ended the process.

    Raises:
        UserError: the parameters are not right; the sweep then stops.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fairtune.sweep"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(function, keywords, theirs))
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

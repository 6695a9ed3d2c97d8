"""Time and memory of each method over rows, length, batch and width: `make scaling`.

usage: python -m fairtune.scaling
in:    params.yaml (its methods and its model's shape)
out:   metrics/scaling.json

Not part of the pipeline. Each point is a process of its own, on the device that the study uses; on
two CPU cores the sweep of the embedded study takes about two minutes.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fairtune import layout, params
from fairtune.errors import UserError, one_line, run
from fairtune.files import write_json

OUT_OF_MEMORY = "out of memory"
GRIDS: Mapping[bool, Mapping[str, tuple[int, ...]]] = {
    False: {
        "rows": (32, 64, 128),
        "max_length": (32, 64, 128),
        "batch_size": (4, 8, 16),
        "hidden": (1, 2),
    },
    True: {
        "rows": (256, 1024, 4096),
        "max_length": (128, 256, 512),
        "batch_size": (16, 32, 64),
        "hidden": (1, 2, 4),
    },
}
"""Values of each axis without and with a GPU; `hidden` is a factor on the encoder's width."""
BASE: Mapping[bool, tuple[int, int, int]] = {False: (32, 64, 8), True: (256, 128, 16)}
"""Rows, length and batch where another quantity is varied."""


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


def points(*, on_gpu: bool, longest: int, widths: bool) -> Iterator[tuple[str, Size]]:
    """Yield each axis with one of its values, the others at the base."""
    rows, length, batch = BASE[on_gpu]
    for axis, values in GRIDS[on_gpu].items():
        if axis == "hidden" and not widths:
            continue
        for value in values:
            sizes = {"rows": rows, "max_length": length, "batch_size": batch, "width": 1}
            sizes["width" if axis == "hidden" else axis] = value
            # A step is timed over several: a larger batch has as many.
            sizes["rows"] = max(sizes["rows"], 4 * sizes["batch_size"])
            sizes["max_length"] = min(sizes["max_length"], longest)
            yield axis, Size(**sizes)


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


def sweep(study: params.Params, *, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure all points."""
    kind, machine = apart("describe", study=study)
    if kind != "done":
        raise UserError(f"the sweep cannot start: {machine}")
    on_gpu = machine.pop("type") == "cuda"
    hidden, longest = machine.pop("hidden"), machine.pop("longest")
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for axis, size in points(on_gpu=on_gpu, longest=longest, widths=hidden is not None):
            encoder = Path(folder) / str(size.width)
            made = ("done", None) if encoder.exists() else _make(study, size.width, encoder)
            value = hidden * size.width if axis == "hidden" else getattr(size, axis)
            for name, method in study.methods.items():
                kind, cost = made if made[0] == "note" else apart(
                    "measure", study=study, method=method, name=name, size=size, folder=encoder,
                    whole_pass=axis == "rows",
                )  # fmt: skip
                found.append(_point(axis, value, name, kind=kind, cost=cost))
                tell(
                    f"scaling: {axis} {value}, {name}: {found[-1]['note'] or found[-1]['seconds']}"
                )
    memory = "GPU memory allocated by tensors" if on_gpu else "host memory of the process"
    return {**machine, "memory": memory, "points": found}


def _make(study: params.Params, width: int, folder: Path) -> tuple[str, Any]:
    return apart("make_encoder", study=study, width=width, folder=folder)


def _point(axis: str, value: int, name: str, *, kind: str, cost: Any) -> dict[str, Any]:
    measured = kind == "done"
    return {
        "axis": axis,
        "value": value,
        "method": name,
        "seconds": cost.seconds if measured else None,
        "memory_mib": cost.memory_mib if measured else None,
        "note": "" if measured else str(cost),
    }


def main() -> None:
    """Run the sweep and write what it found."""
    path = layout.METRICS / "scaling.json"
    write_json(path, sweep(params.load()))
    print(f"scaling: {path}; `dvc repro report` takes it up")


if __name__ == "__main__":
    run(main)

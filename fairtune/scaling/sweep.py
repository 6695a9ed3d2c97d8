"""The points of the sweep, and the sweep over them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.scaling.isolation import apart
from fairtune.scaling.point import Size

PROBE = "fairtune.scaling.probe"
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


def sweep(study: params.Params, *, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure all points."""
    kind, machine = apart(PROBE, "describe", study=study)
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
                    PROBE, "measure", study=study, method=method, name=name, size=size,
                    folder=encoder, whole_pass=axis == "rows",
                )  # fmt: skip
                found.append(_point(axis, value, name, kind=kind, cost=cost))
                tell(
                    f"scaling: {axis} {value}, {name}: {found[-1]['note'] or found[-1]['seconds']}"
                )
    # The counter's key, as in metrics/<method>.json: what it is called is the reader's to say.
    memory = "gpu_allocated_mib" if on_gpu else "host_memory_mib"
    return {**machine, "memory": memory, "points": found}


def _make(study: params.Params, width: int, folder: Path) -> tuple[str, Any]:
    return apart(PROBE, "make_encoder", study=study, width=width, folder=folder)


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

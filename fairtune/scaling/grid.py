"""The points of the sweep: each axis with its values, the other quantities at a base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairtune.scaling.point import Encoder, Size

MODEL_SIZE = "parameters"
GRIDS: Mapping[bool, Mapping[str, tuple[int, ...]]] = {
    False: {"rows": (32, 64, 128), "max_length": (32, 64, 128), "batch_size": (4, 8, 16)},
    True: {
        "rows": (512, 2048, 8192),
        "max_length": (128, 256, 512, 1024, 2048),
        "batch_size": (16, 32, 64, 128),
    },
}
"""Values of each axis without and with a GPU, where a step must be long enough to keep it busy."""
BASE: Mapping[bool, tuple[int, int, int]] = {False: (32, 64, 8), True: (512, 256, 16)}
"""Rows, length and batch where another quantity is varied."""
STEPS: Mapping[bool, int] = {False: 4, True: 8}
"""Least steps of a point: a step's time is the median of those after the first."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place on one axis."""

    axis: str
    value: float
    size: Size


def points(encoders: Sequence[Encoder], *, on_gpu: bool) -> Iterator[Point]:
    """Yield each axis with one of its values, the others at the base.

    Args:
        encoders: the study's own first, and those that the model size is varied over.
        on_gpu: which grid to take.
    """
    rows, length, batch = BASE[on_gpu]
    longest = encoders[0].longest
    for axis, values in GRIDS[on_gpu].items():
        fitting = [value for value in values if axis != "max_length" or value <= longest]
        for value in fitting or [longest]:
            base = Size(rows=rows, max_length=min(length, longest), batch_size=batch)
            varied: dict[str, Any] = {axis: value}
            size = replace(base, **varied)
            enough = max(size.rows, STEPS[on_gpu] * size.batch_size)
            yield Point(axis=axis, value=value, size=replace(size, rows=enough))
    if len(encoders) > 1:
        for encoder in encoders:
            size = Size(
                rows=rows,
                max_length=min(length, *(one.longest for one in encoders)),
                batch_size=batch,
                encoder=encoder.name,
            )
            yield Point(axis=MODEL_SIZE, value=round(encoder.parameters / 1e6, 1), size=size)

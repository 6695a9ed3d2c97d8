"""The time of single training steps."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

# Steps before the median step time is taken: allocator and caches settle.
WARM_UP_STEPS = 10


@dataclass(kw_only=True)
class Steps:
    """Marks the end of each step; a step's time is the gap between two marks of one stretch.

    A stretch is what the clock counts without a break, so no gap holds a pause. The first step of
    a stretch has no mark before it and no time.
    """

    on_gpu: bool
    """Whether to mark on the CUDA device's own time line, for which nobody waits."""
    _stretches: list[list[Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Begin a stretch."""
        self._stretches.append([])

    def mark(self) -> None:
        """Note the end of a training step, without waiting for the device."""
        mark: Any = time.perf_counter()
        if self.on_gpu:
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        self._stretches[-1].append(mark)

    def milliseconds(self) -> list[float]:
        """Return the time of each step after the first of each stretch, in order."""
        if self.on_gpu:
            torch.cuda.synchronize()
        times: list[float] = []
        for stretch in self._stretches:
            for before, after in itertools.pairwise(stretch):
                gap = before.elapsed_time(after) if self.on_gpu else 1000 * (after - before)
                times.append(float(gap))
        return times

    def summary(self) -> tuple[float | None, float | None]:
        """Return median and 90th percentile of the steps after warm-up, in milliseconds.

        Both are None where there are no such steps.
        """
        times = self.milliseconds()[WARM_UP_STEPS:]
        if not times:
            return None, None
        return round(float(np.median(times)), 3), round(float(np.percentile(times, 90)), 3)

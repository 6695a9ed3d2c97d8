"""How many trials a device bears at once: by the memory that the first holds and that is free."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil
import torch

# What CUDA itself holds of a GPU for each process.
CONTEXT_BYTES = 600 * 2**20
# A trial may come to hold more than it did when it was looked at, and so may others.
GROWTH, LEAVE = 1.25, 0.9
CGROUP = Path("/sys/fs/cgroup")


def held_and_free(*, on_gpu: bool) -> tuple[int, int]:
    """Return the bytes that this process holds of the device's memory, and those that are free."""
    if on_gpu:
        return torch.cuda.max_memory_reserved() + CONTEXT_BYTES, torch.cuda.mem_get_info()[0]
    unit = 1 if sys.platform == "darwin" else 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return held, min(psutil.virtual_memory().available, _left_of_quota())


def _left_of_quota() -> int:
    """Return the bytes that the control group may still take; no end where there is no quota."""
    try:
        most = int((CGROUP / "memory.max").read_text())
        return most - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return sys.maxsize


def beside(held: int, free: int) -> int:
    """Return how many more trials the free memory bears.

    Args:
        held: bytes that one trial holds.
        free: bytes that are free beside it.
    """
    return max(0, int(LEAVE * free // (GROWTH * held)))

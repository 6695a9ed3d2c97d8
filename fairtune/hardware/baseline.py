"""The GPU before this process touched it: what it holds then is others', what it draws is idle."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from fairtune.core.errors import UserError
from fairtune.hardware import nvml

# A driver and a display need this much; more means that somebody else computes there.
BUSY_MIB = 1024.0


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The GPU before this process touched it; all None without one."""

    gpu: Any = None
    """NVML's handle."""
    device_mib: float | None = None
    """Memory in use on the whole device."""
    joules: float | None = None
    """Its energy counter."""
    at: float = 0.0
    """`time.perf_counter` when it was read."""
    busy: str | None = None
    """Who else computes there."""


def baseline(*, allow_busy: bool, wanted: bool = True) -> Baseline:
    """Look at the GPU before this process touches it.

    Raises:
        UserError: another process computes there and `allow_busy` is not set.
    """
    if not wanted:
        return Baseline(at=time.perf_counter())
    try:
        gpu = nvml.handle()
    except (RuntimeError, ImportError):
        return Baseline(at=time.perf_counter())
    used = nvml.device_mib(gpu)
    others = nvml.processes(gpu, drawing=False)
    busy = None
    if others or (used or 0.0) > BUSY_MIB:
        who = f"processes {sorted(others)}" if others else "a process that the driver does not list"
        held = "a part" if used is None else f"{used:.0f} MiB"
        busy = f"{who} held {held} of the GPU at the start"
        if not allow_busy:
            raise UserError(
                f"the GPU is taken: {busy}; wait for it, or set train.allow_busy_gpu to true, "
                "which leaves this run out of all costs"
            )
    return Baseline(
        gpu=gpu,
        device_mib=used,
        joules=nvml.energy_joules(gpu),
        at=time.perf_counter(),
        busy=busy,
    )

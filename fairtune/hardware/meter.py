"""Measure a training from outside: time, memory and energy of the loop and of nothing else."""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairtune.core.errors import UserError
from fairtune.core.units import MIB
from fairtune.hardware import nvml
from fairtune.hardware.device import Choice
from fairtune.hardware.sampler import Sampler, Samples
from fairtune.runs.record import Energy, Memory

# A driver and a display need this much; more means that somebody else computes there.
BUSY_MIB = 1024.0
# Steps before the median step time is taken: allocator and caches settle.
WARM_UP_STEPS = 10
NO_GPU = "no NVIDIA GPU"
NO_DEVICE_COUNTER = "this GPU does not tell the memory in use"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The GPU before this process touched it; all None without one."""

    gpu: Any = None
    device_mib: float | None = None
    joules: float | None = None
    at: float = 0.0
    busy: str | None = None


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
                "which spoils this run's time and memory figures"
            )
    return Baseline(
        gpu=gpu,
        device_mib=used,
        joules=nvml.energy_joules(gpu),
        at=time.perf_counter(),
        busy=busy,
    )


@dataclass
class Meter:
    """Clock, memory peaks and energy of one training; pauses while something else runs."""

    device: Choice
    base: Baseline
    sample: bool = True
    seconds: float = 0.0
    paused_seconds: float = 0.0
    preparing_seconds: float = 0.0
    allocated: int = 0
    reserved: int = 0
    joules: float = 0.0
    idle_watts: float | None = None
    _since: float = 0.0
    _joules_since: float | None = None
    _sampler: Sampler | None = None
    _samples: Samples | None = None
    _marks: list[list[Any]] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        """Whether the training runs on a CUDA device."""
        return self.device.type == "cuda"

    def prepare(self) -> None:
        """Start the sampling process and take the GPU's idle power, before anything is loaded."""
        if not self.on_gpu or self.base.gpu is None:
            return
        now = nvml.energy_joules(self.base.gpu)
        elapsed = time.perf_counter() - self.base.at
        if now is not None and self.base.joules is not None and elapsed > 0.5:
            self.idle_watts = (now - self.base.joules) / elapsed
        if self.sample:
            self._sampler = Sampler()

    def start(self) -> None:
        """Begin: from here on, all counts."""
        self._resume()

    def stop(self) -> None:
        """End: from here on, nothing counts."""
        self._halt()
        self.close()

    def close(self) -> None:
        """End the sampling process, if there is one; also after an error."""
        if self._sampler is not None:
            self._samples = self._sampler.stop()
            self._sampler = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep what runs inside (validation, saving) out of every figure."""
        self._halt()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.paused_seconds += time.perf_counter() - start
            self._resume()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Keep what readies the loop (capture of graphs) off the clock and out of the energy.

        Its memory counts: the graphs hold what the steps use.
        """
        self._stop_clock()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.device.synchronize()
            self.preparing_seconds += time.perf_counter() - start
            self._start_clock()

    def _resume(self) -> None:
        if self.on_gpu:
            # Blocks that loading or validation left cached would count as training's.
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if self._sampler is not None:
            self._sampler.run()
        self._start_clock()

    def _start_clock(self) -> None:
        self.device.synchronize()
        self._joules_since = nvml.energy_joules(self.base.gpu) if self._counts_energy else None
        self._marks.append([])
        self._since = time.perf_counter()

    def _halt(self) -> None:
        self._stop_clock()
        if self._sampler is not None:
            self._sampler.pause()
        if self.on_gpu:
            self.allocated = max(self.allocated, torch.cuda.max_memory_allocated())
            self.reserved = max(self.reserved, torch.cuda.max_memory_reserved())

    def _stop_clock(self) -> None:
        self.device.synchronize()
        self.seconds += time.perf_counter() - self._since
        if self._joules_since is not None:
            now = nvml.energy_joules(self.base.gpu)
            self.joules += (now or self._joules_since) - self._joules_since

    @property
    def _counts_energy(self) -> bool:
        return self.on_gpu and self.base.gpu is not None

    def mark_step(self) -> None:
        """Note the end of a training step, without waiting for the device."""
        mark: Any = time.perf_counter()
        if self.on_gpu:
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        self._marks[-1].append(mark)

    def step_milliseconds(self) -> list[float]:
        """Return the time of each step after the first of each stretch, in order."""
        self.device.synchronize()
        times: list[float] = []
        for stretch in self._marks:
            for before, after in itertools.pairwise(stretch):
                gap = before.elapsed_time(after) if self.on_gpu else 1000 * (after - before)
                times.append(float(gap))
        return times

    def step_summary(self) -> tuple[float | None, float | None]:
        """Return median and 90th percentile of the steps after warm-up, in milliseconds."""
        times = self.step_milliseconds()[WARM_UP_STEPS:]
        if not times:
            return None, None
        return round(float(np.median(times)), 3), round(float(np.percentile(times, 90)), 3)

    def memory(self) -> Memory:
        """Return the five counters; None, with the reason, for one that could not be had."""
        unavailable: dict[str, str] = {}
        gpu: dict[str, float | None] = dict.fromkeys(
            ("gpu_memory_mib", "gpu_device_delta_mib", "gpu_reserved_mib", "gpu_allocated_mib")
        )
        samples = self._samples
        if not self.on_gpu:
            unavailable = dict.fromkeys(gpu, NO_GPU)
        else:
            gpu["gpu_allocated_mib"] = round(self.allocated / MIB, 1)
            gpu["gpu_reserved_mib"] = round(self.reserved / MIB, 1)
            if samples is None:
                reason = "NVML is not there" if self.sample else "sampling was switched off"
                unavailable = dict.fromkeys(("gpu_memory_mib", "gpu_device_delta_mib"), reason)
            else:
                gpu["gpu_memory_mib"] = samples.process_mib
                if samples.device_mib is None or self.base.device_mib is None:
                    failed = None if samples.count else samples.reason
                    unavailable["gpu_device_delta_mib"] = failed or NO_DEVICE_COUNTER
                else:
                    delta = samples.device_mib - self.base.device_mib
                    gpu["gpu_device_delta_mib"] = round(delta, 1)
                if samples.reason:
                    unavailable["gpu_memory_mib"] = samples.reason
        return Memory(
            **gpu,
            host_memory_mib=round(host_peak_mib(), 1),
            sample_interval_ms=samples.interval_ms if samples else None,
            samples=samples.count if samples else 0,
            unavailable=unavailable,
        )

    def energy(self) -> Energy:
        """Return the device's energy while the clock ran, idle power taken off."""
        if not self._counts_energy or self._joules_since is None:
            if not self.on_gpu:
                reason = NO_GPU
            elif self.base.gpu is None:
                reason = "NVML is not there"
            else:
                reason = "this GPU has no energy counter"
            return Energy(total_wh=None, idle_watts=None, net_wh=None, unavailable=reason)
        total = self.joules / 3600
        idle = self.idle_watts
        return Energy(
            total_wh=round(total, 4),
            idle_watts=None if idle is None else round(idle, 1),
            net_wh=None if idle is None else round(total - idle * self.seconds / 3600, 4),
            unavailable=None,
        )


def host_peak_mib() -> float:
    """Return the peak resident memory of this process, in MiB.

    On Linux from VmHWM: `getrusage` there also remembers the process that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def driver(device: Choice) -> str | None:
    """Return the version of the GPU's driver, where the training runs on one."""
    return nvml.driver_version() if device.type == "cuda" else None

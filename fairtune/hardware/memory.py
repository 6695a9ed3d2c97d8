"""The memory of a training: torch's peaks, NVML's samples, the host's peak, and why one is missing.

How NVML counts stands in `fairtune.hardware.nvml`, how it is sampled in
`fairtune.hardware.sampler`.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from fairtune.core.units import MIB
from fairtune.hardware import nvml
from fairtune.hardware.baseline import Baseline
from fairtune.hardware.sampler import Sampler, Samples
from fairtune.runs.record import Memory

SAMPLED = ("gpu_memory_mib", "gpu_device_delta_mib")
"""Counters that the sampling process reads from NVML."""
ALLOCATOR = ("gpu_reserved_mib", "gpu_allocated_mib")
"""Counters of torch's allocator."""
NO_DEVICE_COUNTER = "this GPU does not tell the memory in use"


@dataclass(kw_only=True)
class MemoryPeaks:
    """Keeps the peaks of a GPU's memory while it counts; the host's is that of the whole process.

    Figures of the device as a whole are over what it held before (`base`).
    """

    on_gpu: bool
    base: Baseline
    sample: bool = True
    """Whether to have a process that samples NVML."""
    allocated: int = 0
    """Bytes occupied by tensors."""
    reserved: int = 0
    """Bytes held by torch's allocator."""
    _sampler: Sampler | None = None
    _samples: Samples | None = None

    def prepare(self) -> None:
        """Start the sampling process, paused."""
        if self.on_gpu and self.base.gpu is not None and self.sample:
            self._sampler = Sampler(before_mib=self.base.device_mib)

    def run(self) -> None:
        """Count from now on."""
        if self.on_gpu:
            # Blocks that loading or validation left cached would count as training's.
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if self._sampler is not None:
            self._sampler.run()

    def pause(self) -> None:
        """Count nothing until `run`."""
        if self._sampler is not None:
            self._sampler.pause()
        if self.on_gpu:
            self.allocated = max(self.allocated, torch.cuda.max_memory_allocated())
            self.reserved = max(self.reserved, torch.cuda.max_memory_reserved())

    def close(self) -> None:
        """End the sampling process, if there is one, and take its figures."""
        if self._sampler is not None:
            self._samples = self._sampler.stop()
            self._sampler = None

    @property
    def others(self) -> str | None:
        """Who else was on the GPU while it counted, None where nobody was noticed."""
        return self._samples.others if self._samples else None

    def figures(self) -> Memory:
        """Return the five counters; None, with the reason, for one that could not be had."""
        samples = self._samples
        return Memory(
            gpu_memory_mib=samples.process_mib if samples else None,
            gpu_device_delta_mib=self._device_delta(),
            gpu_reserved_mib=round(self.reserved / MIB, 1) if self.on_gpu else None,
            gpu_allocated_mib=round(self.allocated / MIB, 1) if self.on_gpu else None,
            host_memory_mib=round(host_peak_mib(), 1),
            sample_interval_ms=samples.interval_ms if samples else None,
            samples=samples.count if samples else 0,
            unavailable=self._lacks(),
        )

    def _device_delta(self) -> float | None:
        """Return the MiB that the device as a whole held over those of the baseline."""
        samples, before = self._samples, self.base.device_mib
        if samples is None or samples.device_mib is None or before is None:
            return None
        return round(samples.device_mib - before, 1)

    def _lacks(self) -> dict[str, str]:
        """Return the reason for each counter that could not be had."""
        samples = self._samples
        if not self.on_gpu:
            return dict.fromkeys((*SAMPLED, *ALLOCATOR), nvml.NO_GPU)
        if samples is None:
            reason = nvml.NO_NVML if self.sample else "sampling was switched off"
            return dict.fromkeys(SAMPLED, reason)
        found: dict[str, str] = {}
        if self._device_delta() is None:
            failed = None if samples.count else samples.reason
            found["gpu_device_delta_mib"] = failed or NO_DEVICE_COUNTER
        if samples.reason:
            found["gpu_memory_mib"] = samples.reason
        return found


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

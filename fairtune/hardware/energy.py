"""The energy of a training, by NVML's counter."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fairtune.hardware import nvml
from fairtune.hardware.baseline import Baseline
from fairtune.runs.record import Energy

# The counter moves every tenth of a second or so: over a shorter time, its ticks would be too few.
IDLE_SECONDS = 1.0


@dataclass(kw_only=True)
class EnergyCounter:
    """Adds up what the whole device draws while the clock runs, and knows what it draws idle."""

    on_gpu: bool
    base: Baseline
    joules: float = 0.0
    idle_watts: float | None = None
    """Mean power from the baseline to `take_idle_power`; None where it could not be had."""
    _joules_since: float | None = None

    @property
    def _counts(self) -> bool:
        return self.on_gpu and self.base.gpu is not None

    def take_idle_power(self) -> None:
        """Take the device's power since the baseline, before anything is loaded.

        Waits for what is left of `IDLE_SECONDS`: a process whose libraries are imported already
        comes here at once.
        """
        if not self._counts or self.base.joules is None:
            return
        time.sleep(max(0.0, self.base.at + IDLE_SECONDS - time.perf_counter()))
        now = nvml.energy_joules(self.base.gpu)
        if now is not None:
            self.idle_watts = (now - self.base.joules) / (time.perf_counter() - self.base.at)

    def start(self) -> None:
        """Count from now on."""
        self._joules_since = nvml.energy_joules(self.base.gpu) if self._counts else None

    def stop(self) -> None:
        """Add the energy since the start."""
        if self._joules_since is not None:
            now = nvml.energy_joules(self.base.gpu)
            self.joules += (now or self._joules_since) - self._joules_since

    def figures(self, *, seconds: float) -> Energy:
        """Return the energy, and what is left with idle power taken off; or why there is none.

        Args:
            seconds: how long it was counted.
        """
        if self._joules_since is None:
            return Energy(total_wh=None, idle_watts=None, net_wh=None, unavailable=self._lack())
        total, idle = self.joules / 3600, self.idle_watts
        return Energy(
            total_wh=round(total, 4),
            idle_watts=None if idle is None else round(idle, 1),
            net_wh=None if idle is None else round(total - idle * seconds / 3600, 4),
            unavailable=None,
        )

    def _lack(self) -> str:
        """Return why there is no energy."""
        if not self.on_gpu:
            return nvml.NO_GPU
        return nvml.NO_NVML if self.base.gpu is None else "this GPU has no energy counter"

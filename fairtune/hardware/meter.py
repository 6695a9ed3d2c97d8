"""Measure a training from outside: time, memory and energy of the loop and of nothing else.

What each figure counts stands in a module of its own; here is only when they start and stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fairtune.hardware.baseline import Baseline
from fairtune.hardware.clock import Clock
from fairtune.hardware.device import Choice
from fairtune.hardware.energy import EnergyCounter
from fairtune.hardware.memory import MemoryPeaks
from fairtune.hardware.steps import Steps
from fairtune.runs.record import Energy, Memory


class Meter:
    """Clock, steps, memory peaks and energy of one training; pauses while something else runs."""

    def __init__(self, *, device: Choice, base: Baseline, sample: bool = True) -> None:
        """Make the four counters; none runs yet.

        Args:
            device: where the training runs.
            base: the GPU before this process touched it.
            sample: whether to sample the GPU's memory by a process of its own.
        """
        on_gpu = device.type == "cuda"
        self.device = device
        self.base = base
        self.clock = Clock()
        self.steps = Steps(on_gpu=on_gpu)
        self.memory_peaks = MemoryPeaks(on_gpu=on_gpu, base=base, sample=sample)
        self.energy_counter = EnergyCounter(on_gpu=on_gpu, base=base)

    @property
    def seconds(self) -> float:
        """Seconds of the training loop alone."""
        return self.clock.counted.seconds

    @property
    def paused_seconds(self) -> float:
        """Seconds in pauses."""
        return self.clock.paused.seconds

    @property
    def preparing_seconds(self) -> float:
        """Seconds that readied the loop."""
        return self.clock.preparing.seconds

    def prepare(self) -> None:
        """Start the sampling process and take the GPU's idle power, before anything is loaded."""
        self.memory_peaks.prepare()
        self.energy_counter.take_idle_power()

    def start(self) -> None:
        """Begin: from here on, all counts."""
        self.memory_peaks.run()
        self._start_clock()

    def stop(self) -> None:
        """End: from here on, nothing counts."""
        self._halt()
        self.close()

    def close(self) -> None:
        """End the sampling process, if there is one; also after an error."""
        self.memory_peaks.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep what runs inside (validation, saving) out of every figure."""
        self._halt()
        self.clock.paused.start()
        try:
            yield
        finally:
            self.clock.paused.stop()
            self.start()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Keep what readies the loop (capture of graphs) off the clock and out of the energy.

        Its memory counts: the graphs hold what the steps use.
        """
        self._stop_clock()
        self.clock.preparing.start()
        try:
            yield
        finally:
            self.device.synchronize()
            self.clock.preparing.stop()
            self._start_clock()

    def _halt(self) -> None:
        self._stop_clock()
        self.memory_peaks.pause()

    def _start_clock(self) -> None:
        self.device.synchronize()
        self.energy_counter.start()
        self.steps.begin()
        self.clock.counted.start()

    def _stop_clock(self) -> None:
        self.device.synchronize()
        self.clock.counted.stop()
        self.energy_counter.stop()

    def mark_step(self) -> None:
        """Note the end of a training step, without waiting for the device."""
        self.steps.mark()

    def step_summary(self) -> tuple[float | None, float | None]:
        """Return median and 90th percentile of the steps after warm-up, in milliseconds."""
        return self.steps.summary()

    def memory(self) -> Memory:
        """Return the five counters of memory; None, with the reason, for one not to be had."""
        return self.memory_peaks.figures()

    def energy(self) -> Energy:
        """Return the device's energy while the clock ran, idle power taken off."""
        return self.energy_counter.figures(seconds=self.seconds)

"""The seconds of a training, by `time.perf_counter`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Adds up the seconds between each start and the stop that follows."""

    seconds: float = 0.0
    _since: float = 0.0

    def start(self) -> None:
        """Run from now on."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Add the time since the start."""
        self.seconds += time.perf_counter() - self._since


@dataclass
class Clock:
    """Three stopwatches, of which the meter lets no two run at once.

    They know nothing of the device: the meter waits for it before it starts or stops one.
    """

    counted: Stopwatch = field(default_factory=Stopwatch)
    """The training loop alone."""
    paused: Stopwatch = field(default_factory=Stopwatch)
    """What is no part of the training: validation, saving."""
    preparing: Stopwatch = field(default_factory=Stopwatch)
    """What readies the loop: warm-up, capture of graphs."""

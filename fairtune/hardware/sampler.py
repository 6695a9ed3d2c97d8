"""Sample a GPU's memory in a process of its own, which a busy training loop cannot starve.

Run as ``python -m fairtune.hardware.sampler PID [MIB]`` it samples until its input closes; MIB is
what the device held before the process PID touched it. Commands on its input: ``run``, ``pause``.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from fairtune.hardware.company import Company
from fairtune.hardware.nvml import device_mib, handle, processes

INTERVAL_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Peaks over the samples taken while running, in MiB."""

    process_mib: float | None
    device_mib: float | None
    count: int
    interval_ms: float | None
    reason: str | None
    others: str | None = None
    """Who else was on the device, None where nobody was noticed."""


class Sampler:
    """The sampling process, seen from the process that is measured."""

    def __init__(self, *, before_mib: float | None = None) -> None:
        """Start it, paused, and wait until it is ready.

        Args:
            before_mib: what the device held before this process touched it.
        """
        words = [str(os.getpid()), *([] if before_mib is None else [str(before_mib)])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fairtune.hardware.sampler", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def _say(self, command: str) -> None:
        assert self.process.stdin is not None
        # Where the process has ended, `stop` says so: no training is lost for it.
        with suppress(BrokenPipeError):
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()

    def run(self) -> None:
        """Count samples from now on."""
        self._say("run")

    def pause(self) -> None:
        """Count no samples until `run`."""
        self._say("pause")

    def stop(self) -> Samples:
        """End the process and return the peaks."""
        try:
            text, _ = self.process.communicate(timeout=10)
            return Samples(**json.loads(text))
        except (subprocess.TimeoutExpired, json.JSONDecodeError, OSError) as error:
            self.process.kill()
            return Samples(
                process_mib=None,
                device_mib=None,
                count=0,
                interval_ms=None,
                reason=f"the sampling process failed: {type(error).__name__}",
            )


def sample(pid: int, before_mib: float | None = None) -> Samples:
    """Sample a process's and the device's memory, and who else is there, until the input closes.

    Args:
        pid: of the process.
        before_mib: what the device held before it.
    """
    # Ctrl-C reaches the whole group; this process ends when its input closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gpu = handle()
    print("ready", flush=True)
    running = False
    times: list[float] = []
    mine: list[float] = []
    whole: list[float] = []
    company = Company(pid=pid, before_mib=before_mib)
    reason = "the driver lists no process with this number (a container's own numbering?)"
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], INTERVAL_SECONDS)
        if ready:
            # Read past Python's buffer, in which `select` could not see a second command.
            commands = os.read(sys.stdin.fileno(), 4096).split()
            if not commands:
                break
            running = commands[-1] == b"run"
        if not running:
            continue
        times.append(time.perf_counter())
        used = device_mib(gpu)
        if used is not None:
            whole.append(used)
        computing = processes(gpu, drawing=False)
        company.look(computing, used)
        held = computing if pid in computing else processes(gpu)
        if pid in held:
            memory = held[pid]
            if memory is None:
                reason = "the driver does not tell memory by process"
            else:
                mine.append(memory)
    gaps = [1000 * (b - a) for a, b in itertools.pairwise(times)]
    return Samples(
        process_mib=round(max(mine), 1) if mine else None,
        device_mib=round(max(whole), 1) if whole else None,
        count=len(times),
        interval_ms=round(statistics.median(gaps), 2) if gaps else None,
        reason=None if mine else reason,
        others=company.seen(),
    )


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the parent is gone: nobody waits for the figures
        print(json.dumps(asdict(sample(int(sys.argv[1]), *map(float, sys.argv[2:])))), flush=True)

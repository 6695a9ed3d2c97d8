"""What NVIDIA's management library says of a GPU: memory, other processes, energy.

Run as ``python -m fairtune.nvml PID`` it samples memory until its input closes, in a process of
its own, which a busy training loop cannot starve. Commands on its input: ``run``, ``pause``.
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
from typing import Any

INTERVAL_SECONDS = 0.005
MIB = 2**20
# Of CUDA_VISIBLE_DEVICES: what shows a process no GPU.
HIDDEN = ("", "-1")
COUNT_BY_PLACE = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Peaks over the samples taken while running, in MiB."""

    process_mib: float | None
    device_mib: float | None
    count: int
    interval_ms: float | None
    reason: str | None


def handle() -> Any:
    """Return NVML's handle of the GPU that torch calls `cuda:0`.

    NVML counts GPUs by their place on the bus; CUDA must be told to (`COUNT_BY_PLACE`).

    Raises:
        RuntimeError: there is no NVML, no such GPU, or this process is not to see one.
    """
    import pynvml

    try:
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        if first in HIDDEN:
            raise RuntimeError("CUDA_VISIBLE_DEVICES hides every GPU")
        pynvml.nvmlInit()
        if first.startswith(("GPU-", "MIG-")):
            return pynvml.nvmlDeviceGetHandleByUUID(first)
        return pynvml.nvmlDeviceGetHandleByIndex(int(first))
    except (pynvml.NVMLError, ValueError, OSError) as error:
        raise RuntimeError(f"NVML: {error}") from error


def processes(gpu: Any, *, drawing: bool = True) -> dict[int, float | None]:
    """Return the processes on the GPU: pid -> MiB held, None where the driver does not tell.

    Args:
        gpu: NVML's handle.
        drawing: also those that only draw, such as a desktop.
    """
    import pynvml

    found: dict[int, float | None] = {}
    queries = [pynvml.nvmlDeviceGetComputeRunningProcesses]
    if drawing:
        queries.append(pynvml.nvmlDeviceGetGraphicsRunningProcesses)
    for query in queries:
        try:
            for process in query(gpu):
                used = process.usedGpuMemory
                found[process.pid] = None if used is None else used / MIB
        except pynvml.NVMLError:
            continue
    return found


def device_mib(gpu: Any) -> float | None:
    """Return the memory in use on the whole device, in MiB, or None where it has no such counter.

    GPUs that share the host's memory have none.
    """
    import pynvml

    try:
        return float(pynvml.nvmlDeviceGetMemoryInfo(gpu).used) / MIB
    except pynvml.NVMLError:
        return None


def energy_joules(gpu: Any) -> float | None:
    """Return the device's energy counter, or None where it has none."""
    import pynvml

    try:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) / 1000.0
    except pynvml.NVMLError:
        return None


def driver_version() -> str | None:
    """Return the GPU driver's version, or None without a GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


class Sampler:
    """The sampling process, seen from the process that is measured."""

    def __init__(self) -> None:
        """Start it, paused, and wait until it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fairtune.nvml", str(os.getpid())],
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


def sample(pid: int) -> Samples:
    """Sample this process's and the device's memory until standard input closes."""
    # Ctrl-C reaches the whole group; this process ends when its input closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gpu = handle()
    print("ready", flush=True)
    running = False
    times: list[float] = []
    mine: list[float] = []
    whole: list[float] = []
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
        held = processes(gpu)
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
    )


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the parent is gone: nobody waits for the figures
        print(json.dumps(asdict(sample(int(sys.argv[1])))), flush=True)

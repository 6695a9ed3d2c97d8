"""What NVIDIA's management library says of a GPU: memory, other processes, energy."""

from __future__ import annotations

import os
from typing import Any

from fairtune.core.units import MIB

# Of CUDA_VISIBLE_DEVICES: what shows a process no GPU.
HIDDEN = ("", "-1")
COUNT_BY_PLACE = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
# Reasons for a figure that could not be had.
NO_GPU = "no NVIDIA GPU"
NO_NVML = "NVML is not there"


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


def uuid(gpu: Any) -> str:
    """Return the name of a GPU that no other has.

    Raises:
        RuntimeError: the driver does not tell.
    """
    import pynvml

    try:
        return str(pynvml.nvmlDeviceGetUUID(gpu))
    except pynvml.NVMLError as error:
        raise RuntimeError(f"NVML: {error}") from error


def driver_version() -> str | None:
    """Return the GPU driver's version, or None without a GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None

"""Choose the device and the precision: the same for every method of a study."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from fairtune.core.errors import UserError
from fairtune.core.params import Train
from fairtune.hardware import nvml
from fairtune.hardware.processor import processor_name

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# OpenMP's variable for the number of threads, which torch also reads when it is imported.
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A device and the precision to compute in."""

    type: str
    """cpu, cuda or mps."""
    name: str
    """Name of the processor or GPU."""
    precision: str
    """bf16, fp16 or fp32."""
    reason: str
    """Why this precision."""
    threads: int
    """CPU threads that torch uses."""

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        return torch.device("cuda", 0) if self.type == "cuda" else torch.device(self.type)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the forward and backward pass."""
        return DTYPES[self.precision]

    def autocast(self) -> torch.autocast:
        """Return the context in which forward passes run."""
        return torch.autocast(
            self.type, dtype=self.dtype, enabled=self.precision != "fp32", cache_enabled=False
        )

    def synchronize(self) -> None:
        """Wait until the device has done all it was given."""
        if self.type == "cuda":
            torch.cuda.synchronize()
        elif self.type == "mps":
            torch.mps.synchronize()


def choose(train: Train) -> Choice:
    """Choose as `train.device` and `train.precision` say; `auto` takes what the machine has.

    Raises:
        UserError: the device is not there, or cannot compute in the precision asked for.
    """
    kind = kind_of(train)
    best, reason = _best_precision(kind)
    precision = best if train.precision == "auto" else train.precision
    if precision == "fp16" and kind != "cuda":
        raise UserError(f"train.precision: fp16 needs a CUDA GPU; on {kind} use bf16 or fp32")
    if train.precision != "auto":
        reason = "asked for"
    threads = threads_to_use()
    torch.set_num_threads(threads)
    return Choice(
        type=kind, name=device_name(kind), precision=precision, reason=reason, threads=threads
    )


def kind_of(train: Train) -> str:
    """Return cuda, mps or cpu, as `train.device` says; `auto` takes what the machine has.

    Raises:
        UserError: the device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": _has_mps(), "cpu": True}
    if train.device == "auto":
        return next(name for name, there in available.items() if there)
    if not available[train.device]:
        there = ", ".join(name for name, yes in available.items() if yes)
        raise UserError(f"train.device: '{train.device}' is not on this machine; it has {there}")
    return train.device


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _best_precision(kind: str) -> tuple[str, str]:
    """Return the precision that the hardware computes natively, and why."""
    if kind == "cuda":
        major, minor = torch.cuda.get_device_capability(0)
        if major >= 8:
            return "bf16", f"compute capability {major}.{minor} has bf16"
        return "fp16", f"compute capability {major}.{minor} has fp16 but no bf16"
    if kind == "cpu" and cpu_has_bf16():
        return "bf16", "the processor has AVX-512 bf16 or AMX"
    return "fp32", f"no native bf16 on this {kind}"


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16 natively (AVX-512 bf16 or AMX).

    `torch.ops.mkldnn._is_mkldnn_bf16_supported` is no substitute: it also says yes where bf16 is
    emulated, which is slower than fp32.
    """
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def device_name(kind: str) -> str:
    """Return the name of the first GPU, or of the processor."""
    if kind == "cuda":
        return torch.cuda.get_device_name(0)
    return processor_name()


def threads_to_use() -> int:
    """Return on how many threads torch is to compute: one a core, or fewer where the user says so.

    OMP_NUM_THREADS may be a list, of which the first number counts (OpenMP 5.2, section 21.1.2);
    what is no number says nothing.
    """
    first = os.environ.get(THREADS, "").split(",")[0].strip()
    asked = int(first) if first.isdecimal() else 0
    return min(granted_cores(), asked) if asked else granted_cores()


def granted_cores() -> int:
    """Return how many cores this process may use: affinity and control-group quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = affinity or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    # Beyond physical cores and this many, torch's own default is the better judge.
    return min(cores, torch.get_num_threads()) if cores > 32 else cores


def granted_core_numbers() -> list[int]:
    """Return the numbers of the cores that this process may use; none where the system has none."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[: granted_cores()]


def driver(device: Choice) -> str | None:
    """Return the version of the GPU's driver, where the training runs on one."""
    return nvml.driver_version() if device.type == "cuda" else None

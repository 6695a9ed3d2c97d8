"""All that a point imports, imported once, in a server that then forks a process for each point.

A process forked after CUDA was touched cannot use it. Most libraries only ask whether there is a
GPU, which torch answers from NVML where it is told to; bitsandbytes asks for the compute capability
as well, for which torch would start CUDA: here NVML answers that too. Whether a fork can use CUDA
is looked at after each import.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fairtune.hardware import nvml
from fairtune.training.start import set_up_process

IMPORTS = (
    "torch",
    "torch._dynamo",
    "transformers.modeling_utils",
    "accelerate",
    "bitsandbytes",
    "peft",
    "transformers.trainer",
    "transformers.models.bert.modeling_bert",
    "transformers.models.roberta.modeling_roberta",
    "transformers.models.llama.modeling_llama",
    "fairtune.scaling.probe",
)
"""In an order in which each brings little that a later one names."""


def load(names: Sequence[str] = IMPORTS) -> str | None:
    """Import modules; return the first after which a forked process cannot use CUDA, else None."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    set_up_process()
    for name in names:
        with capability_from_nvml():
            importlib.import_module(name)
        if a_fork_is_barred():
            return name
    # What the imports made stays: no process need look through it for garbage.
    gc.freeze()
    return None


@contextmanager
def capability_from_nvml() -> Iterator[None]:
    """Let NVML answer for the compute capability, where there is a GPU and NVML knows it."""
    import torch

    known = compute_capability()
    before = torch.cuda.get_device_capability

    def capability(device: Any = None) -> tuple[int, int]:
        return known or before(device)

    torch.cuda.get_device_capability = capability
    try:
        yield
    finally:
        torch.cuda.get_device_capability = before


def compute_capability() -> tuple[int, int] | None:
    """Return the GPU's compute capability by NVML, None where it cannot tell."""
    try:
        import pynvml

        gpu = nvml.handle()
        try:
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(gpu)
        finally:
            pynvml.nvmlShutdown()
    except (RuntimeError, ImportError, pynvml.NVMLError):
        return None
    return int(major), int(minor)


def a_fork_is_barred() -> bool:
    """Return whether a process forked from this one could not use CUDA."""
    import torch

    child = os.fork()
    if child == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) != 0


CULPRIT = load()
"""The import that touched CUDA, None where none did."""

"""Make a built model fast where it runs; what it computes stays the same but for rounding."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from fairtune.acceleration import activation, attention, bf16, dropout, first_token, gated, rotary
from fairtune.core.units import MIB
from fairtune.hardware.device import Choice

# Of glibc's `mallopt`: when memory is given back to the system, and from which size on a block is
# mapped on its own. The largest number that it takes is that of a C int.
TRIM_THRESHOLD, MMAP_THRESHOLD, LARGEST = -1, -3, 2**31 - 1
HALF_HEAP = 32 * MIB


def prepare(model: Any, device: Choice, *, kernels: str = "fast") -> None:
    """Apply to a model, wrapped by PEFT or not, what pays on this device: the same for all methods.

    Call it before training, and before predicting with a model that was trained so.

    Args:
        model: the built model, on the device.
        device: where it runs, and in which precision.
        kernels: `train.kernels`; stock leaves the model as it is.
    """
    if kernels == "stock":
        return
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    # A decoder's cache of keys and values is of no use where nothing is generated.
    inner.config.use_cache = False
    install_family(inner)
    if device.type == "cpu":
        keep_freed_memory()
        dropout.install(inner, wrapped=model)
    elif device.type == "cuda":
        attention.install(inner)
        gated.install(inner)
    activation.install(inner)
    first_token.install(inner)
    # fp16 has too small a range for the sums between layers.
    if device.precision == "bf16":
        rotary.install(inner)
        bf16.save_casts(model)


def install_family(model: Any) -> None:
    """Let a family whose own code would be slow attend fast; imported where there is such a model.

    What it works out of positions is the same at every step, and so worked out once.
    """
    if model.config.model_type == "deberta-v2":
        from fairtune.acceleration import deberta

        deberta.install(model)
    elif model.config.model_type == "mpnet":
        from fairtune.acceleration import mpnet

        mpnet.install(model)


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors; return whether its C library can.

    glibc gives large blocks back to the system at once, whose pages are then zeroed one by one
    when the next step needs them again: an eighth of a step on two cores.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    trims = mallopt(TRIM_THRESHOLD, LARGEST)
    # Older releases refuse what is above half of their largest heap.
    maps = mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_THRESHOLD, HALF_HEAP)
    return bool(trims and maps)

"""Make a built model fast where it runs; what it computes stays the same but for rounding."""

from __future__ import annotations

from typing import Any

from fairtune import casts, dropout
from fairtune.device import Choice


def prepare(model: Any, device: Choice) -> None:
    """Apply to a model, wrapped by PEFT or not, what pays on this device: the same for all methods.

    Call it before training, and before predicting with a model that was trained so.
    """
    if device.type == "cpu":
        inner = model.get_base_model() if hasattr(model, "peft_config") else model
        dropout.install(inner, wrapped=model)
    # fp16 has too small a range for the sums between layers.
    if device.precision == "bf16":
        casts.save_casts(model)

"""Methods whose training steps cannot be replayed as CUDA graphs, and why.

`tests/test_cuda.py` holds the table against a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft.utils import PeftType

from fairtune.core.method import Method

GRADIENTS = "the adapter works on each step's gradients, which graphs do not keep"
COPIES = "PEFT copies numbers to the GPU in each step, which no graph can hold"
WAITS = "PEFT waits for the GPU in each step, which no graph can hold"
CHANCE = "what is left out is drawn on the processor in each step, and a graph would fix the draw"
ADAPTERS = {
    PeftType.ADALORA: GRADIENTS,
    PeftType.BOFT: WAITS,
    PeftType.FOURIERFT: COPIES,
    PeftType.FROD: COPIES,
    PeftType.P_TUNING: COPIES,
    PeftType.PREFIX_TUNING: COPIES,
    PeftType.PROMPT_TUNING: COPIES,
    PeftType.PSOFT: WAITS,
    PeftType.VBLORA: WAITS,
    PeftType.WAVEFT: COPIES,
}
KEYS = {"trainable_token_indices": COPIES, "velora_config": WAITS}
"""Of adapters that are replayed otherwise."""
DROPPED = {"module_dropout": CHANCE, "rank_dropout": COPIES}
"""Of LoHa and LoKr, which are replayed otherwise."""
DROPPING = {PeftType.LOHA, PeftType.LOKR}
LAYER_DROP = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
"""In a model's configuration: the share of layers that a training step leaves out."""


def why(adapter: str, keys: Mapping[str, Any]) -> str | None:
    """Return why an adapter's steps run eagerly; None where they need not.

    Args:
        adapter: PEFT's name of it.
        keys: its configuration's.
    """
    names = {kind.value: reason for kind, reason in ADAPTERS.items()}
    which = KEYS | (DROPPED if adapter.upper() in DROPPING else {})
    by_key = (reason for key, reason in which.items() if keys.get(key))
    return names.get(adapter.upper()) or next(by_key, None)


def of_method(method: Method) -> str | None:
    """Return why a method's steps run eagerly; None where they need not."""
    return why(method.adapter, method.keywords) if method.adapter else None


def of_model(model: Any) -> str | None:
    """Return why a built model's steps run eagerly; None where they need not."""
    if any(getattr(model.config, key, None) for key in LAYER_DROP):
        return CHANCE
    for config in getattr(model, "peft_config", {}).values():
        return why(config.peft_type.value, vars(config))
    return None

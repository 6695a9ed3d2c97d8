"""Keys of PEFT that have an effect beside others alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from peft import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType

from fairtune.core.errors import UserError

SET = object()
"""Stands for any value but none: nothing, null, 0 or false."""
BESIDE: dict[PeftType, dict[str, tuple[str, Any]]] = {
    PeftType.DEFT: {"init_scale": ("init_weights", False)},
    PeftType.LOKR: {"rank_dropout_scale": ("rank_dropout", SET)},
    PeftType.MISS: {"mini_r": ("init_weights", "mini")},
    PeftType.OFT: {"eps": ("coft", True)},
    PeftType.P_TUNING: {"encoder_dropout": ("encoder_reparameterization_type", "LSTM")},
    PeftType.PREFIX_TUNING: {"encoder_hidden_size": ("prefix_projection", True)},
    PeftType.PSOFT: {"random_seed": ("psoft_svd", "lowrank")},
    PeftType.SUPERTUNING: dict.fromkeys(("lora_alpha", "lora_dropout"), ("r", SET)),
    PeftType.TINYLORA: {"init_v_bound": ("init_weights", "uniform")},
}
"""A key, and which other key must have which value for it."""
NOT_IN_4_BITS = ("use_bdlora", "velora_config")
"""Keys of LoRA's that PEFT leaves out, or fails by, beside weights in 4 bits."""
STARTS_IN_4_BITS = (True, False, "gaussian", "olora")


def check_conditions(
    kind: PeftType, keywords: Mapping[str, Any], *, quantize: str | None, name: str
) -> None:
    """Refuse a key that has no effect, as another one has not the value that it needs.

    Args:
        kind: PEFT's method.
        keywords: the method's keys.
        quantize: how the frozen weights are stored.
        name: the method's name, for errors.

    Raises:
        UserError: it names both keys.
    """
    fields = dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])
    usual = {field.name: field.default for field in fields}
    for key, (other, value) in BESIDE.get(kind, {}).items():
        chosen = keywords.get(other, usual[other])
        met = bool(chosen) if value is SET else chosen == value
        if keywords.get(key, usual[key]) != usual[key] and not met:
            raise UserError(
                f"methods.{name}.{key}: {keywords[key]!r} has no effect without "
                f"{beside(other, value)}; set both, or drop the key"
            )
    if quantize and kind == PeftType.LORA:
        _check_bits(keywords, quantize, name=name)


def beside(key: str, value: Any) -> str:
    """Return a key with the value that another needs, as YAML has it."""
    if value is SET:
        return key
    return f"{key}: {str(value).lower() if isinstance(value, bool) else value}"


def _check_bits(keywords: Mapping[str, Any], quantize: str, *, name: str) -> None:
    """Refuse what LoRA does not do beside weights in 4 bits."""
    for key in NOT_IN_4_BITS:
        if keywords.get(key) is not None:
            raise UserError(
                f"methods.{name}.{key}: PEFT does not use it beside weights in 4 bits "
                f"({quantize}); drop it, or quantize"
            )
    start = keywords.get("init_lora_weights", True)
    if start not in STARTS_IN_4_BITS:
        raise UserError(
            f"methods.{name}.init_lora_weights: {start!r} needs weights that are not in 4 bits "
            f"({quantize}); set true, gaussian or olora, or drop quantize"
        )

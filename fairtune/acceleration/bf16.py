"""Keep activations and frozen weights in bf16, so that fewer of them are cast to and fro.

Autocast casts the weights of a linear layer to bf16 at every use, runs layer normalisation in fp32
and hands on fp32, which every linear layer behind it casts back; PEFT computes adapters in the
fp32 of their parameters. Here frozen weights are cast once, normalisations and embeddings hand on
bf16 (their own sums are in fp32 either way: torch's kernels), and adapters work in bf16. What the
matrix products see stays the same but for rounding. What is trained stays in fp32, and is rounded
to bf16 where it is used: as autocast does with linear layers, so here with the scales of
normalisations and the rows of embeddings.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from fairtune.acceleration.low_precision import (
    LowPrecision4bit,
    LowPrecisionEmbedding,
    LowPrecisionIA3,
    LowPrecisionLayerNorm,
    LowPrecisionLora,
    LowPrecisionRMSNorm,
    is_rms_norm,
)
from fairtune.models.audit import is_4bit

LOW = torch.bfloat16
ADAPTERS = ((LoraLayer, LowPrecisionLora), (IA3Layer, LowPrecisionIA3))


# Layers whose frozen weights autocast, or the layer itself, rounds to bf16 at every use.
HELD = (nn.Linear, Conv1D, LowPrecisionLayerNorm, LowPrecisionRMSNorm, LowPrecisionEmbedding)


@functools.cache
def mixed(mixin: type, kind: type) -> type:
    """Return a class of the same name and module whose forward pass is another."""
    return type(kind.__name__, (mixin, kind), {"__module__": kind.__module__})


def save_casts(model: nn.Module) -> None:
    """Let a model's normalisations, embeddings, adapters and frozen layers work in bf16.

    Trained parameters stay as they are. Calling it again changes nothing.
    """
    read_elsewhere: set[nn.Module] = set()
    for module in list(model.modules()):
        if isinstance(module, BaseTunerLayer):
            layer: Any = module
            if hasattr(layer, "cast_input_dtype_enabled"):
                layer.cast_input_dtype_enabled = False
            if not _swap_forward(layer):
                # Other adapters read the weights themselves, and not only within autocast.
                read_elsewhere.update(layer.modules())
    for module in model.modules():
        if module not in read_elsewhere:
            _work_low(module)
            hold_frozen(module)


def _work_low(module: nn.Module) -> None:
    """Let a normalisation, an embedding or a 4-bit layer hand on bf16."""
    if type(module) is nn.LayerNorm:
        module.__class__ = LowPrecisionLayerNorm
        return
    swaps: tuple[tuple[type, bool], ...] = (
        (LowPrecisionRMSNorm, is_rms_norm(module)),
        (LowPrecisionEmbedding, isinstance(module, nn.Embedding)),
        (LowPrecision4bit, is_4bit(module)),
    )
    for mixin, fits in swaps:
        if fits and not isinstance(module, mixin):
            kind: type = type(module)
            module.__class__ = mixed(mixin, kind)


def _swap_forward(layer: Any) -> bool:
    """Give a LoRA or IA3 layer on a linear layer its bf16 forward pass; return whether it has."""
    if isinstance(layer, (LowPrecisionLora, LowPrecisionIA3)):
        return True
    if not isinstance(layer.get_base_layer(), nn.Linear) or getattr(layer, "lora_variant", None):
        return False
    # AdaLoRA is a LoRA layer whose factors are bare parameters.
    if not isinstance(getattr(layer, "lora_A", None), nn.ModuleDict | None):
        return False
    for family, mixin in ADAPTERS:
        if isinstance(layer, family):
            layer.__class__ = mixed(mixin, type(layer))
            return True
    return False


def hold_frozen(module: nn.Module) -> None:
    """Hold a layer's frozen weights in bf16, to which autocast would cast them at every use.

    Of a 4-bit layer, unpack the doubly quantised scales, which bitsandbytes would do at every use.
    """
    four_bit = is_4bit(module)
    if isinstance(module, HELD):
        for parameter in (getattr(module, "bias", None), None if four_bit else module.weight):
            if isinstance(parameter, nn.Parameter) and not parameter.requires_grad:
                parameter.data = parameter.data.to(LOW)
    if four_bit:
        unpack_scales(module.weight)


def unpack_scales(weight: Any) -> None:
    """Replace the quantised scales of a 4-bit weight by themselves, unpacked to fp32."""
    state = weight.quant_state
    state.dtype = LOW
    if not state.nested:
        return
    from bitsandbytes.functional import dequantize_blockwise

    state.absmax = dequantize_blockwise(state.absmax, state.state2).float() + state.offset
    state.nested, state.state2, state.offset = False, None, None

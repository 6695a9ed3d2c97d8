"""Keep activations and frozen weights in bf16, so that fewer of them are cast to and fro.

Autocast casts the weights of a linear layer to bf16 at every use, runs layer normalisation in fp32
and hands on fp32, which every linear layer behind it casts back; PEFT computes adapters in the
fp32 of their parameters. Here frozen weights are cast once, normalisation hands on bf16 (its own
sums are in fp32 either way: torch's kernels), and adapters work in bf16. What the matrix products
see stays the same but for rounding. What is trained stays in fp32, and is rounded to bf16 where it
is used: as autocast does with linear layers, so here with the scales of normalisations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn import functional

from fairtune.models.audit import is_4bit

LOW = torch.bfloat16


def low_precision(value: torch.Tensor) -> torch.dtype | None:
    """Return autocast's precision for the tensor's device, or None outside autocast."""
    kind = value.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


class LowPrecisionLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` that reads and writes bf16 within autocast."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise; outside autocast as `nn.LayerNorm` does."""
        dtype = low_precision(input) or input.dtype
        with torch.autocast(input.device.type, enabled=False):
            return functional.layer_norm(
                input.to(dtype),
                self.normalized_shape,
                None if self.weight is None else self.weight.to(dtype),
                None if self.bias is None else self.bias.to(dtype),
                self.eps,
            )


def only_adapter(layer: Any, names: Any) -> str | None:
    """Return the one adapter that a layer applies, or None where PEFT's own forward must decide."""
    active = layer.active_adapters
    if layer.disable_adapters or layer.merged or len(active) != 1 or active[0] not in names:
        return None
    return str(active[0])


class LowPrecisionLora(nn.Module):
    """PEFT's LoRA layer with its update added in one matrix product: `base + s (x A') B'`."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the layer's output of shape (..., out) for x of shape (..., in)."""
        layer: Any = self
        name = only_adapter(layer, layer.lora_A)
        dtype = low_precision(x)
        if args or kwargs or name is None or name in layer.lora_variant or dtype is None:
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        base = layer.base_layer(x)
        hidden = layer.lora_A[name](layer.lora_dropout[name](x))
        up = layer.lora_B[name]
        with torch.autocast(x.device.type, enabled=False):
            out = torch.addmm(
                base.to(dtype).flatten(0, -2),
                hidden.flatten(0, -2),
                up.weight.to(dtype).t(),
                alpha=float(layer.scaling[name]),
            )
            if up.bias is not None:
                out = out + up.bias.to(dtype) * layer.scaling[name]
        return out.view_as(base).to(base.dtype)


class _Scale(torch.autograd.Function):
    """`values * scale`, where the scale's gradient is summed over all tokens by a matrix product.

    torch's own sum over the leading dimensions takes three times as long on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values, scale)
        return values * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, scale = ctx.saved_tensors
        products = (gradient * values).flatten(0, -2)
        ones = products.new_ones(1, len(products))
        return gradient * scale, (ones @ products).squeeze(0)


class LowPrecisionIA3(nn.Module):
    """PEFT's IA3 layer with the product by the learned vector in bf16.

    PEFT multiplies in fp32: slower, and the fp32 activations are kept for the backward pass.
    """

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the layer's output of shape (..., out) for x of shape (..., in)."""
        layer: Any = self
        name = only_adapter(layer, layer.ia3_l)
        dtype = low_precision(x)
        if args or kwargs or name is None or dtype is None:
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        scale = layer.ia3_l[name].flatten().to(dtype)
        scaled: Callable[..., torch.Tensor] = _Scale.apply
        if layer.is_feedforward:
            return layer.base_layer(scaled(x.to(dtype), scale))  # type: ignore[no-any-return]
        return scaled(layer.base_layer(x), scale)


ADAPTERS = ((LoraLayer, LowPrecisionLora), (IA3Layer, LowPrecisionIA3))


@functools.cache
def mixed(mixin: type, kind: type) -> type:
    """Return a PEFT class whose forward pass is another."""
    return type(kind.__name__, (mixin, kind), {})


def save_casts(model: nn.Module) -> None:
    """Let a model's normalisations, adapters and frozen linear layers work in bf16.

    Trained parameters stay as they are. Calling it again changes nothing.
    """
    read_elsewhere: set[nn.Module] = set()
    for module in list(model.modules()):
        if type(module) is nn.LayerNorm:
            module.__class__ = LowPrecisionLayerNorm
        elif isinstance(module, BaseTunerLayer):
            layer: Any = module
            if hasattr(layer, "cast_input_dtype_enabled"):
                layer.cast_input_dtype_enabled = False
            if not _swap_forward(layer):
                # Other adapters read the weights themselves, and not only within autocast.
                read_elsewhere.update(layer.modules())
    for module in model.modules():
        if module not in read_elsewhere:
            hold_frozen(module)


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
    if type(module) in (nn.Linear, LowPrecisionLayerNorm) or four_bit:
        for parameter in (module.bias, None if four_bit else module.weight):
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

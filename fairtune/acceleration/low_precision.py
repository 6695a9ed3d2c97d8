"""Layers that read and write bf16 within autocast; outside it they are what they replace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


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


# Normalisations whose weight is the scale's difference from one.
SCALES_FROM_ONE = ("GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm")


class LowPrecisionRMSNorm(nn.Module):
    """A decoder's RMSNorm in one kernel that reads and writes bf16 within autocast.

    Its mean square is summed in fp32 either way. Transformers' own makes five passes, and hands on
    fp32 wherever it is given fp32.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalise over the last dimension; outside autocast as the class does by itself."""
        layer: Any = self
        dtype = low_precision(hidden_states)
        if dtype is None:
            return super().forward(hidden_states)  # type: ignore[no-any-return]
        with torch.autocast(hidden_states.device.type, enabled=False):
            scale = layer.weight
            if type(layer).__name__ in SCALES_FROM_ONE:
                scale = 1.0 + scale.float()
            eps = getattr(layer, "variance_epsilon", None) or layer.eps
            return functional.rms_norm(hidden_states.to(dtype), scale.shape, scale.to(dtype), eps)


class LowPrecisionEmbedding(nn.Module):
    """An embedding that hands on bf16 within autocast, whatever its weights are stored in.

    What a decoder adds to its input goes through all layers: in fp32 the sums would stay fp32.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Look up (rows, tokens) ids."""
        found: torch.Tensor = super().forward(input)
        return found.to(low_precision(found) or found.dtype)


class LowPrecision4bit(nn.Module):
    """A 4-bit layer that hands on bf16 within autocast, as linear layers do.

    bitsandbytes hands on the type that it was given.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output of shape (..., out) for x of shape (..., in)."""
        return super().forward(x.to(low_precision(x) or x.dtype))  # type: ignore[no-any-return]


def only_adapter(layer: Any, names: Any) -> str | None:
    """Return the one adapter that a layer applies, or None where PEFT's own forward must decide."""
    active = layer.active_adapters
    if layer.disable_adapters or layer.merged or len(active) != 1 or active[0] not in names:
        return None
    return str(active[0])


def is_rms_norm(module: nn.Module) -> bool:
    """Return whether a module is an RMSNorm of Transformers that `LowPrecisionRMSNorm` can be."""
    name = type(module).__name__
    own = name.endswith("RMSNorm") and hasattr(module, "variance_epsilon")
    return own or name in SCALES_FROM_ONE


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

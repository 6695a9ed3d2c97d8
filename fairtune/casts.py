"""Keep activations in bf16 from layer to layer, so that fewer of them are cast to and fro.

Autocast runs layer normalisation in fp32 and hands on fp32; every linear layer behind it then
casts its input back. The normalisation's own sums are in fp32 either way (torch's kernels), so its
output can be bf16 at once. PEFT, likewise, casts an adapter's input to the adapter's fp32, only
for autocast to cast it back. Neither changes what the matrix products see but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class LowPrecisionLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` that reads and writes bf16 within autocast."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise; outside autocast as `nn.LayerNorm` does."""
        kind = input.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(input)
        dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            return functional.layer_norm(
                input.to(dtype),
                self.normalized_shape,
                None if self.weight is None else self.weight.to(dtype),
                None if self.bias is None else self.bias.to(dtype),
                self.eps,
            )


def save_casts(model: nn.Module) -> None:
    """Let a model's normalisations and adapters work in the precision of the pass.

    Parameters stay as they are, so that nothing changes in what is saved.
    """
    for module in model.modules():
        if type(module) is nn.LayerNorm:
            module.__class__ = LowPrecisionLayerNorm
        adapter: Any = module
        if hasattr(adapter, "cast_input_dtype_enabled"):
            adapter.cast_input_dtype_enabled = False

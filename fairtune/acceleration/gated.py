"""Gated feed-forward layers that keep one tensor less for the backward pass.

`act(gate) * up` keeps the gate, what the activation makes of it, and `up`. The second follows from
the first at the cost of one pass over it; of a decoder's layer it is a quarter of what is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fairtune.acceleration.bf16 import mixed

Activation = Callable[[torch.Tensor], torch.Tensor]


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gate: torch.Tensor, up: torch.Tensor, activation: Activation
    ) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return activation(gate) * up

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        gate, up = ctx.saved_tensors
        with torch.enable_grad():
            again = gate.detach().requires_grad_()
            activated = ctx.activation(again)
        (of_gate,) = torch.autograd.grad(activated, again, gradient * up)
        return of_gate, gradient * activated.detach(), None


def gated(gate: torch.Tensor, up: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Return `activation(gate) * up`, of the shape that both have."""
    apply: Any = _Gated.apply
    found: torch.Tensor = apply(gate, up, activation)
    return found


class Separate(nn.Module):
    """A feed-forward layer with a projection each for the gate and what it gates."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., hidden) for x of shape (..., hidden)."""
        layer: Any = self
        out: torch.Tensor = layer.down_proj(
            gated(layer.gate_proj(x), layer.up_proj(x), layer.act_fn)
        )
        return out


class Joint(nn.Module):
    """Phi-3's feed-forward layer: one projection for the gate and what it gates."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return (..., hidden) for states of shape (..., hidden)."""
        layer: Any = self
        gate, up = layer.gate_up_proj(hidden_states).chunk(2, dim=-1)
        out: torch.Tensor = layer.down_proj(gated(gate, up, layer.activation_fn))
        return out


class ModernBert(nn.Module):
    """ModernBERT's feed-forward layer: one projection, the gate first."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return (..., hidden) for states of shape (..., hidden)."""
        layer: Any = self
        gate, up = layer.Wi(hidden_states).chunk(2, dim=-1)
        out: torch.Tensor = layer.Wo(layer.drop(gated(gate, up, layer.act)))
        return out


LAYERS: dict[str, type] = {
    "LlamaMLP": Separate,
    "MistralMLP": Separate,
    "Qwen2MLP": Separate,
    "Qwen3MLP": Separate,
    "GemmaMLP": Separate,
    "Gemma2MLP": Separate,
    "Gemma3MLP": Separate,
    "Phi3MLP": Joint,
    "ModernBertMLP": ModernBert,
}
"""By the name of Transformers' class."""


def install(model: nn.Module) -> None:
    """Let a model's gated layers keep less."""
    for module in model.modules():
        mixin = LAYERS.get(type(module).__name__)
        if mixin is not None and not isinstance(module, mixin):
            kind: type = type(module)
            module.__class__ = mixed(mixin, kind)

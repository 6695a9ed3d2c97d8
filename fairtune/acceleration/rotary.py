"""Rotary positions in three passes over queries and keys, and as many backward.

Transformers turns them in fp32, or in bf16 by six kernels whose results are kept for the backward
pass. The turn back is the turn by the opposite angle, for which nothing need be kept.

Source of the rotation: Su et al., RoFormer (2021), equation 34.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

FUNCTION = "apply_rotary_pos_emb"
# Families that turn the first half of a head's width against the second.
FAMILIES = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama",
    "mistral",
    "modernbert",
    "phi",
    "qwen2",
    "qwen3",
)
Turn = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def turned(
    values: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, back: bool = False
) -> torch.Tensor:
    """Return values turned by an angle, or back by it.

    Args:
        values: shape (rows, heads, tokens, width).
        cos: of the angles, broadcast over heads; the two halves of its width are the same.
        sin: like `cos`.
        back: turn by the opposite angle.
    """
    half = values.shape[-1] // 2
    sign = -1.0 if back else 1.0
    out = values * cos
    out[..., :half].addcmul_(values[..., half:], sin[..., :half], value=-sign)
    out[..., half:].addcmul_(values[..., :half], sin[..., half:], value=sign)
    return out


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return turned(values, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turned(gradient, cos, sin, back=True), None, None


def fast(plain: Turn) -> Turn:
    """Return a family's own function, made fast where it is given bf16.

    Args:
        plain: takes queries, keys, cosines and sines, and the dimension of the heads in the first
            two, which the others lack.
    """

    def apply_rotary_pos_emb(
        q: torch.Tensor,
        k: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        unsqueeze_dim: int = 1,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if options or q.dtype != torch.bfloat16 or cos.shape[-1] != q.shape[-1]:
            return plain(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim, **options)
        angles = [part.to(q.dtype).unsqueeze(unsqueeze_dim) for part in (cos, sin)]
        turn: Any = _Turned.apply
        query, key = (turn(values, *angles) for values in (q, k))
        return query, key

    apply_rotary_pos_emb.plain = plain  # type: ignore[attr-defined]
    return apply_rotary_pos_emb


def install(model: PreTrainedModel) -> None:
    """Let a model of one of the families turn fast: its module's own function is replaced."""
    if model.config.model_type not in FAMILIES:
        return
    module = sys.modules[type(model).__module__]
    plain = getattr(module, FUNCTION, None)
    if plain is None or hasattr(plain, "plain"):
        return
    if list(inspect.signature(plain).parameters)[:5] == ["q", "k", "cos", "sin", "unsqueeze_dim"]:
        setattr(module, FUNCTION, fast(plain))

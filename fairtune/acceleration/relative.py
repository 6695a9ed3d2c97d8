"""Positions relative to one another: scores for each distance, looked up once and shifted.

A table of 2n - 1 distances serves n x n pairs of tokens. Models that keep it as an index of pairs
gather scores by it, and the gradients scatter back, atom by atom; some work it out on the host at
every step, which no CUDA graph can hold. Here scores are computed for distances, and a view shifts
each token's row of them into place, as Transformer-XL does (Dai et al. 2019, appendix B).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fairtune.acceleration import dropout


def shifted(by_distance: torch.Tensor) -> torch.Tensor:
    """Return a view of scores by pair.

    Args:
        by_distance: shape (..., n, 2n), contiguous: of token i, column n - 1 - i + j is its score
            with token j; the last column is never read.

    Returns:
        Shape (..., n, n): score of tokens i and j.
    """
    *outer, tokens, width = by_distance.shape
    flat = by_distance.reshape(*outer, tokens * width)
    rows = flat[..., tokens - 1 : tokens - 1 + tokens * (width - 1)]
    return rows.view(*outer, tokens, width - 1)[..., :tokens]


class _Paired(torch.autograd.Function):
    """Scores by pair from those by distance of each query, of each key, or of both."""

    @staticmethod
    def forward(
        ctx: Any, of_queries: torch.Tensor | None, of_keys: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.shapes = [None if one is None else one.shape for one in (of_queries, of_keys)]
        ours = None if of_queries is None else shifted(of_queries)
        theirs = None if of_keys is None else shifted(of_keys).transpose(-1, -2)
        if ours is None or theirs is None:
            (only,) = (one for one in (ours, theirs) if one is not None)
            return only.contiguous()
        return ours + theirs

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found: list[torch.Tensor | None] = []
        for shape, theirs in zip(ctx.shapes, (gradient, gradient.transpose(-1, -2)), strict=True):
            if shape is None:
                found.append(None)
                continue
            spread = gradient.new_zeros(shape)
            shifted(spread).copy_(theirs)
            found.append(spread)
        return tuple(found)


def paired(of_queries: torch.Tensor | None, of_keys: torch.Tensor | None) -> torch.Tensor:
    """Return scores of shape (..., n, n) by pair, as the sum of one or two kinds.

    Args:
        of_queries: shape (..., n, 2n): of query i, column n - 1 - i + j is its score with key j.
        of_keys: the same of key j, column n - 1 - j + i with query i.
    """
    found: torch.Tensor = _Paired.apply(of_queries, of_keys)  # type: ignore[no-untyped-call]
    return found


def distances(tokens: int, device: torch.device) -> torch.Tensor:
    """Return the distance j - i that each of the 2n columns stands for; shape (2n,).

    The last column is never read, and stands for distance n - 1 once more, which all tables have.
    """
    found = torch.arange(1 - tokens, tokens + 1, device=device)
    return found.clamp(max=tokens - 1)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor,
    *,
    p: float,
    scaling: float,
) -> torch.Tensor:
    """Return attention's output of shape (rows, tokens, heads, width).

    Args:
        module: the attention layer; in training it drops weights.
        query: shape (rows, heads, tokens, width), like `key` and `value`.
        key: see `query`.
        value: see `query`.
        bias: added to the scores; broadcasts to (rows, heads, tokens, tokens).
        p: probability of dropping a weight.
        scaling: factor of the products of queries and keys.
    """
    p = p if module.training else 0.0
    bias = bias.to(query.dtype)
    if query.device.type == "cpu":
        out, _ = dropout.attention(
            module, query, key, value, bias, dropout=p, scaling=scaling, is_causal=False
        )
        return out
    out = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, dropout_p=p, scale=scaling
    )
    return out.transpose(1, 2)

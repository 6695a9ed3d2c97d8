"""The arithmetic of passes through a transformer, counted from its configuration.

It is what a progress bar weighs batches by, and what `fairtune.check` estimates a study from.
Embeddings, norms and the head are left out: they are small, or cost no matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What families call the same dimension, in their config.json.
HIDDEN = ("hidden_size", "dim", "n_embd")
LAYERS = ("num_hidden_layers", "n_layers", "n_layer")
HEADS = ("num_attention_heads", "n_heads", "n_head")
INNER = ("intermediate_size", "hidden_dim", "n_inner")
# Families whose feed-forward layers have two matrices in and one out.
GATED = (
    "modernbert",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
)
# A step in passes forward: the pass back makes the gradients of the activations, and those of the
# weights where they are trained.
STEP_OF_WHOLE, STEP_OF_ADAPTER = 3.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """What the cost of a pass depends on."""

    layers: int
    hidden: int
    heads: int
    queries: int
    """Width of the queries of all heads."""
    keys: int
    """Width of the keys, and of the values."""
    inner: int
    """Width of the feed-forward layers."""
    gated: bool = False

    def forward(self, rows: float, length: float) -> float:
        """Return the floating point operations of a pass forward of a batch, in all its layers.

        Args:
            rows: of the batch.
            length: tokens that each is padded to.
        """
        weights = 2 * self.hidden * (self.queries + self.keys)
        weights += (3 if self.gated else 2) * self.hidden * self.inner
        attended = 2 * length * self.queries
        return 2.0 * rows * length * self.layers * (weights + attended)


def dimensions(config: Mapping[str, Any], *, layers: int | None = None) -> Dimensions | None:
    """Return the dimensions of a model, None where its configuration does not tell them.

    Args:
        config: what its config.json holds.
        layers: those that are used, where they are not all.
    """

    def first(names: Sequence[str]) -> int | None:
        return next((config[name] for name in names if isinstance(config.get(name), int)), None)

    hidden, depth, heads, inner = map(first, (HIDDEN, LAYERS, HEADS, INNER))
    if hidden is None or depth is None or heads is None:
        return None
    width = config.get("head_dim") or hidden // heads
    return Dimensions(
        layers=min(layers or depth, depth),
        hidden=hidden,
        heads=heads,
        queries=heads * width,
        keys=(config.get("num_key_value_heads") or heads) * width,
        # GPT-2's configuration leaves it out: four times the width.
        inner=inner or 4 * hidden,
        gated=config.get("model_type") in GATED,
    )


def step_costs(
    shapes: Sequence[tuple[int, int]], size: Dimensions | None, *, whole: bool
) -> list[float]:
    """Return the cost of each training step, in floating point operations.

    Args:
        shapes: of the batches: rows, and the length that they are padded to.
        size: the model's dimensions; None counts tokens instead.
        whole: all weights are trained.
    """
    factor = STEP_OF_WHOLE if whole else STEP_OF_ADAPTER
    return [factor * forward_cost(rows, length, size) for rows, length in shapes]


def evaluation_cost(lengths: NDArray[np.int64], batch_size: int, size: Dimensions | None) -> float:
    """Return the cost of predicting all rows once, in the unit of `step_costs`.

    Args:
        lengths: tokens of each row, shape (rows,).
        batch_size: rows of a batch, which are of like length.
        size: the model's dimensions; None counts tokens instead.
    """
    order = np.sort(lengths)[::-1]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return sum(forward_cost(len(batch), int(batch[0]), size) for batch in batches)


def forward_cost(rows: int, length: int, size: Dimensions | None) -> float:
    """Return the cost of one pass forward."""
    return size.forward(rows, length) if size else float(rows * length)

"""Work out no more of the last layer than the head reads: the first token's state.

The heads of BERT and its kin classify by the first token. Of the last layer, keys and values are
needed of all tokens; the query, attention's output and the feed-forward layer of the first alone:
ten of its twelve products by `hidden x hidden`. The rest has no part in loss and gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel

# Their layers and their heads are built alike.
FAMILIES = {"bert", "camembert", "electra", "roberta", "xlm-roberta"}


class FirstQuery(nn.Module):
    """Self-attention with the first token's query alone."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    num_attention_heads: int
    attention_head_size: int
    scaling: float
    dropout: nn.Dropout
    config: Any

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Attend; the output has shape (rows, 1, width)."""
        # Prefixes come as a decoder's past, which Transformers' own code knows how to put before.
        if options.get("past_key_values") is not None:
            plain: Any = super().forward
            return plain(hidden_states, attention_mask, **options)
        mask = None if attention_mask is None else attention_mask[..., :1, :]
        query, key, value = (
            self._heads(project(states))
            for project, states in (
                (self.query, hidden_states[:, :1]),
                (self.key, hidden_states),
                (self.value, hidden_states),
            )
        )
        attend = AttentionInterface()[self.config._attn_implementation]
        found, weights = attend(
            self,
            query,
            key,
            value,
            mask,
            dropout=self.dropout.p if self.training else 0.0,
            scaling=self.scaling,
        )
        return found.flatten(2), weights

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """Return states as (rows, heads, tokens, width of a head)."""
        rows, tokens, _ = states.shape
        return states.view(
            rows, tokens, self.num_attention_heads, self.attention_head_size
        ).transpose(1, 2)


class FirstOutput(nn.Module):
    """What follows attention: the sum with its input, of the tokens that it attended from."""

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum, of the shape of `hidden_states`."""
        plain: Any = super().forward
        summed: torch.Tensor = plain(hidden_states, input_tensor[:, : hidden_states.shape[1]])
        return summed


def mixed(first: type[nn.Module], stock: type[nn.Module]) -> type[nn.Module]:
    """Return Transformers' class with this one's forward pass before its own."""
    return type(f"{first.__name__}Of{stock.__name__}", (first, stock), {})


def install(model: PreTrainedModel) -> None:
    """Let a classifier's last layer end with the first token's state.

    Where the family is another, or attends by code of its own, nothing is changed.
    """
    if model.config.model_type not in FAMILIES or model.config._attn_implementation == "eager":
        return
    base: Any = model.base_model
    attention = base.encoder.layer[-1].attention
    for module, first in ((attention.self, FirstQuery), (attention.output, FirstOutput)):
        if not isinstance(module, first):
            stock: type[Any] = type(module)
            module.__class__ = mixed(first, stock)

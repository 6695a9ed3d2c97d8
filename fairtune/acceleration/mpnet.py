"""MPNet with its position bias made from distances, and attention by torch's own kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder, MPNetSelfAttention

from fairtune.acceleration.attention import additive
from fairtune.acceleration.relative import attend, distances, paired


class FastEncoder(MPNetEncoder):
    """Transformers' encoder, whose layers are given bias and mask as one."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Run the layers; the mask is that of `create_bidirectional_mask`, additive or None."""
        self.mask = attention_mask
        return super().forward(hidden_states, None, **options)

    def compute_position_bias(
        self, x: torch.Tensor, position_ids: Any = None, num_buckets: int = 32
    ) -> torch.Tensor:
        """Return bias and mask, shape (rows or 1, heads, tokens, tokens)."""
        tokens = x.size(1)
        bias = self.relative_attention_bias(self._buckets(tokens, x.device, num_buckets))
        # The same for every query: (2n, heads) -> (heads, n, 2n).
        bias = paired(bias.t().unsqueeze(1).repeat(1, tokens, 1), None).unsqueeze(0)
        return bias if self.mask is None else bias + additive(self.mask, bias.dtype)

    def _buckets(self, tokens: int, device: torch.device, count: int) -> torch.Tensor:
        """Return the bucket of each distance, worked out once for each number of tokens."""
        known: dict[int, torch.Tensor] = self.__dict__.setdefault("known_buckets", {})
        if tokens not in known:
            bucket: Any = self.relative_position_bucket
            known[tokens] = bucket(distances(tokens, device), num_buckets=count)
        return known[tokens]


class FastAttention(MPNetSelfAttention):
    """Transformers' attention by one kernel."""

    attention_name = "sdpa_relative"

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        output_attentions: bool = False,
        **options: Any,
    ) -> Any:
        """Attend; `position_bias` holds the mask as well."""
        if output_attentions or attention_mask is not None or position_bias is None:
            plain: Any = super().forward
            return plain(hidden_states, attention_mask, position_bias, output_attentions, **options)
        rows, tokens, _ = hidden_states.shape
        query, key, value = (
            project(hidden_states).view(rows, tokens, -1, self.attention_head_size).transpose(1, 2)
            for project in (self.q, self.k, self.v)
        )
        found = attend(
            self,
            query,
            key,
            value,
            position_bias,
            p=self.dropout.p,
            scaling=self.attention_head_size**-0.5,
        )
        return (self.o(found.reshape(rows, tokens, self.all_head_size)),)


FAST: dict[type[nn.Module], type[nn.Module]] = {
    MPNetEncoder: FastEncoder,
    MPNetSelfAttention: FastAttention,
}


def install(model: PreTrainedModel) -> None:
    """Let an MPNet attend fast."""
    for module in model.modules():
        if type(module) in FAST:
            module.__class__ = FAST[type(module)]

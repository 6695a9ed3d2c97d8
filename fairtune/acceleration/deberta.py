"""DeBERTa-v2 and -v3 with disentangled attention from distances, by torch's own kernels.

He et al., DeBERTa (2021), equation 4: a score is the sum of content with content, content with
position and position with content. The last two are products with the embeddings of distances in
buckets; computed for distances and shifted, they need no index of pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    DebertaV2Encoder,
    DisentangledSelfAttention,
)

from fairtune.acceleration.attention import additive
from fairtune.acceleration.low_precision import low_precision
from fairtune.acceleration.relative import attend, distances, paired


class FastEncoder(DebertaV2Encoder):
    """Transformers' encoder, which gives its layers an additive mask and buckets of distances."""

    def get_attention_mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return what is added to the scores of each key; shape (rows, 1, 1, tokens).

        Transformers masks the queries that are padding as well: nobody reads what they find.
        """
        dtype = low_precision(attention_mask) or torch.float32
        return additive(attention_mask.bool(), dtype)[:, None, None, :]

    def get_rel_pos(
        self, hidden_states: torch.Tensor, query_states: Any = None, relative_pos: Any = None
    ) -> Any:
        """Return the bucket of each distance, worked out once for each number of tokens."""
        known: dict[int, torch.Tensor] = self.__dict__.setdefault("known_buckets", {})
        tokens = hidden_states.size(-2)
        if tokens not in known:
            plain: Any = super().get_rel_pos
            pairs = plain(hidden_states)[0]
            # Of token i, entry j is the bucket of i - j: the first row holds those that are not
            # above zero, the first column the others.
            apart = distances(tokens, hidden_states.device)
            known[tokens] = torch.where(
                apart > 0, pairs[0, apart.clamp(min=0)], pairs[(-apart).clamp(min=0), 0]
            )
        return known[tokens]


class FastAttention(DisentangledSelfAttention):
    """Transformers' attention with its position scores made from distances, by one kernel."""

    attention_name = "sdpa_relative"

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        output_attentions: bool = False,
        query_states: torch.Tensor | None = None,
        relative_pos: torch.Tensor | None = None,
        rel_embeddings: torch.Tensor | None = None,
    ) -> Any:
        """Attend; `attention_mask` is additive and `relative_pos` of shape (2 x tokens,)."""
        rows, tokens, _ = hidden_states.shape
        query, key, value = (
            self.heads(project(hidden_states))
            for project in (self.query_proj, self.key_proj, self.value_proj)
        )
        kinds = [kind for kind in ("c2p", "p2c") if kind in self.pos_att_type]
        scaling = (self.attention_head_size * (1 + len(kinds))) ** -0.5
        bias = attention_mask
        if self.relative_attention and kinds and rel_embeddings is not None:
            embedded = self.pos_dropout(rel_embeddings[: 2 * self.pos_ebd_size])
            scores = self.position_scores(query, key, relative_pos, embedded, scaling=scaling)
            bias = scores + attention_mask.to(scores.dtype)
        found = attend(self, query, key, value, bias, p=self.dropout.p, scaling=scaling)
        return found.reshape(rows, tokens, self.all_head_size), None

    def heads(self, values: torch.Tensor) -> torch.Tensor:
        """Return (rows, tokens, heads x width) as (rows, heads, tokens, width)."""
        rows, tokens, _ = values.shape
        return values.view(rows, tokens, self.num_attention_heads, -1).transpose(1, 2)

    def position_scores(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        buckets: Any,
        embedded: torch.Tensor,
        *,
        scaling: float,
    ) -> torch.Tensor:
        """Return content-to-position plus position-to-content scores.

        Args:
            query: shape (rows, heads, tokens, width), like `key`.
            key: see `query`.
            buckets: of each distance, shape (2 x tokens,).
            embedded: embeddings of the buckets, shape (2 x span, hidden).
            scaling: factor of the scores.

        Returns:
            Shape (rows, heads, tokens, tokens).
        """
        span, shared = self.pos_ebd_size, self.share_att_key
        found: list[torch.Tensor | None] = [None, None]
        if "c2p" in self.pos_att_type:
            project = self.key_proj if shared else self.pos_key_proj
            places = (span + buckets).clamp(0, 2 * span - 1)
            found[0] = self.by_distance(query, project(embedded) * scaling, places)
        if "p2c" in self.pos_att_type:
            project = self.query_proj if shared else self.pos_query_proj
            places = (span - buckets).clamp(0, 2 * span - 1)
            found[1] = self.by_distance(key, project(embedded) * scaling, places)
        return paired(*found).transpose(0, 1)

    def by_distance(
        self, values: torch.Tensor, embedded: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        """Return products with the embedding of each distance; shape (heads, rows, tokens, 2n)."""
        rows, heads, tokens, width = values.shape
        table = embedded.view(-1, heads, width).index_select(0, places).permute(1, 2, 0)
        flat = values.transpose(0, 1).reshape(heads, rows * tokens, width)
        return torch.bmm(flat, table).view(heads, rows, tokens, -1)


FAST: dict[type[nn.Module], type[nn.Module]] = {
    DebertaV2Encoder: FastEncoder,
    DisentangledSelfAttention: FastAttention,
}


def install(model: PreTrainedModel) -> None:
    """Let a DeBERTa attend fast; one without relative positions is left as it is."""
    if not getattr(model.config, "relative_attention", False):
        return
    for module in model.modules():
        if type(module) in FAST:
            module.__class__ = FAST[type(module)]

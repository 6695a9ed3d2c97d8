"""Let a decoder classify a text by its own last token, however the batch is padded.

Transformers takes the rightmost token that is not the padding token: not the last one where a text
ends with that token, as it may where the end token fills up batches; and with embeddings for input,
as prompt tuning gives them, it takes the batch's last place. Here the attention mask decides, of
whatever is there for a pass.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

# They have a head of their own code, which does the same as the generic one.
ALIKE = {
    "bloom",
    "falcon",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "gptj",
    "opt",
}


def settle_padding(model: PreTrainedModel, pad_token_id: int | None) -> None:
    """Let a model that reads a last token go by the mask, and tell it which token fills up batches.

    Others keep what their configuration says, whatever fills up their batches: RoBERTa and its kin
    count positions from the token that it names, and would count others once they are reloaded.
    Call it before the model runs, and before PEFT wraps it.

    Args:
        model: with its weights; embeddings made for another padding token stay as they are.
        pad_token_id: as the token cache has it; None leaves the configuration's.
    """
    generic = isinstance(model, GenericForSequenceClassification)
    if generic or model.config.model_type in ALIKE:
        if pad_token_id is not None:
            model.config.get_text_config().pad_token_id = pad_token_id
        kind: Any = type(model)
        model.__class__ = by_mask(kind)


@functools.cache
def by_mask(kind: Any) -> Any:
    """Return a class of models whose forward pass finds the last token by the attention mask."""
    if getattr(kind, "goes_by_mask", False):
        return kind

    # PEFT reads the signature.
    @functools.wraps(kind.forward)
    def forward(
        self: Any,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **keywords: Any,
    ) -> Any:
        if attention_mask is None or attention_mask.dim() != 2:
            own = {"attention_mask": attention_mask, "labels": labels, **keywords}
            return kind.forward(self, input_ids, **own)
        keywords.pop("return_dict", None)
        past = keywords.get("past_key_values")
        # A text is read once: nothing is kept for a next token.
        keywords.setdefault("use_cache", past is not None)
        if past is None and counts_places(self.base_model):
            keywords.setdefault("position_ids", places(attention_mask))
        read = self.base_model(input_ids, attention_mask=attention_mask, **keywords)
        logits = self.score(last_tokens(read.last_hidden_state, attention_mask))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, pooled_logits=logits, config=self.config
            )
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=read.past_key_values,
            hidden_states=read.hidden_states,
            attentions=read.attentions,
        )

    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    # The name is saved with the weights: it must be one that Transformers knows.
    return type(kind.__name__, (kind,), {**names, "forward": forward, "goes_by_mask": True})


def last_tokens(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the last token of each row that the mask shows, of shape (rows, width).

    Args:
        hidden: of each token, shape (rows, tokens, width).
        mask: shape (rows, tokens), or longer by a prefix that has no tokens in `hidden`.
    """
    shown = (mask[:, -hidden.shape[1] :] > 0).int()
    # No step waits for the device: a CUDA graph can hold them all.
    order = torch.arange(hidden.shape[1], device=hidden.device, dtype=torch.int32)
    last = (order * shown).argmax(-1)
    return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2])).squeeze(1)


def counts_places(base: nn.Module) -> bool:
    """Return whether a model looks positions up in a table by the place in the batch, as GPT-2."""
    return isinstance(getattr(base, "wpe", None), nn.Embedding)


def places(mask: torch.Tensor) -> torch.Tensor:
    """Return the position of each token among those shown, from 0, in the mask's shape."""
    return ((mask > 0).long().cumsum(-1) - 1).clamp(min=0)

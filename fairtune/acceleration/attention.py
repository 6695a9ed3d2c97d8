"""Turn the attention mask into what attention's kernels add to the scores, once a pass.

Transformers hands torch a mask of truth values, which torch converts anew in every layer and keeps
for the backward pass: one mask of 16 x 512 x 512 takes 8 MiB, twelve of them 96.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

from fairtune.acceleration.low_precision import low_precision

NAME = "sdpa_additive_mask"


def additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask in the shape given: 0.0 where a token may be attended to, else the least."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill_(~mask, torch.finfo(dtype).min)


def additive_mask(**keywords: Any) -> torch.Tensor | None:
    """Return what Transformers' own function returns, in the precision of the pass.

    None where a decoder's causal mask does without padding's: batches are padded on the right,
    where no token looks. Attention then runs by the kernel that needs no mask.
    """
    if (
        keywords.get("mask_function") is causal_mask_function
        and keywords.get("allow_is_causal_skip")
        and keywords["q_length"] == keywords["kv_length"]
    ):
        return None
    mask: torch.Tensor | None = sdpa_mask(**keywords)
    dtype = None if mask is None else low_precision(mask)
    return mask if mask is None or dtype is None else additive(mask, dtype)


def eager_mask(*, dtype: torch.dtype = torch.float32, **keywords: Any) -> torch.Tensor | None:
    """Return the mask of models that attend by their own code, as Transformers makes it.

    Transformers' own function makes its zero on the host, which no CUDA graph can hold.
    """
    keywords.update(allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
    mask: torch.Tensor | None = sdpa_mask(**keywords)
    return mask if mask is None else additive(mask, dtype)


def install(model: PreTrainedModel) -> None:
    """Let a model make its mask once a pass, and on the device."""
    attend_by(model, NAME, attention=sdpa_attention_forward, mask=additive_mask)
    AttentionMaskInterface.register("eager", eager_mask)


def name_of(model: Any) -> str:
    """Return how a model attends: fairtune's name where its layers were replaced, else its own."""
    for module in model.modules():
        name = getattr(module, "attention_name", None)
        if isinstance(name, str):
            return name
    return str(getattr(model.config, "_attn_implementation", "unknown"))


def attend_by(
    model: PreTrainedModel, name: str, *, attention: Callable[..., Any], mask: Callable[..., Any]
) -> None:
    """Let a model attend by other functions, registered under this name.

    Only where it attends through torch's own kernels: models that choose others keep them.
    """
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(name, attention)
        AttentionMaskInterface.register(name, mask)
        model.set_attn_implementation(name)

"""Let a trained adapter compute as it will when it is loaded: in the form that PEFT saves it in."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

ADAPTER = "default"
"""PEFT's name of a model's one adapter."""


def take(model: Any) -> None:
    """Give a trained model the form that its weights have just been saved in.

    What is tested, timed and recorded is then what is handed on, to the last digit. It is the same
    model but for rounding, and for most methods the very same. Two kinds change:

    - Virtual tokens that a small network makes of others (P-tuning, prefix tuning with a
      projection) are saved as what came out of it. In the training that network computes in the
      training's precision; the saved vectors are of full precision.
    - AdaLoRA is saved without the ranks that it dropped, and sums fewer products.

    Nothing can be trained afterwards, nor saved anew.

    Args:
        model: trained and saved; wrapped by PEFT or not.
    """
    if not hasattr(model, "peft_config"):
        return
    config = model.peft_config[ADAPTER]
    if config.is_prompt_learning:
        encoder = model.prompt_encoder[ADAPTER]
        prompts = model.get_prompt_embedding_to_save(ADAPTER)
        encoder.embedding = nn.Embedding.from_pretrained(prompts.to(encoder.embedding.weight))
        config.inference_mode = True
    for name, kept in (getattr(config, "rank_pattern", None) or {}).items():
        if isinstance(kept, list):  # AdaLoRA's; the key of a LoRA is a rank that its user set
            of_layer = name.removesuffix(f".{ADAPTER}").removesuffix(".lora_E")
            keep_ranks(model.base_model.model.get_submodule(of_layer), torch.tensor(kept))


def keep_ranks(layer: Any, kept: torch.Tensor) -> None:
    """Take from a layer's three matrices the ranks that AdaLoRA dropped.

    Args:
        layer: PEFT's, with matrices A (rank, in), E (rank, 1) and B (out, rank).
        kept: of each rank whether it stays, shape (rank,).
    """
    for matrices, dimension in ((layer.lora_A, 0), (layer.lora_E, 0), (layer.lora_B, 1)):
        matrix = matrices[ADAPTER].detach()
        places = kept.nonzero().flatten().to(matrix.device)
        matrices[ADAPTER] = nn.Parameter(matrix.index_select(dimension, places).contiguous())

"""The encoders of the sweep: the study's own, and larger ones from dimensions written down here.

Of the larger ones there are random weights alone, made on the spot: what a step costs does not
depend on them. They are written as a checkpoint, so that they are loaded, and quantised, as in a
training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from fairtune.core import task
from fairtune.core.params import Model
from fairtune.models.pretrained import find_head, inside, load_config, outline
from fairtune.scaling.point import OWN, Encoder

CLASSES, SEED = 2, 0
WIDE = "wide"
"""The study's own encoder, twice as wide: what two processor cores still train."""
GROWING = ("hidden_size", "intermediate_size", "num_attention_heads")
"""What grows with the width of an encoder; the width of an attention head stays."""
LARGE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "large": (
        "roberta",
        {
            "num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096,
            "num_attention_heads": 16, "vocab_size": 50_265, "max_position_embeddings": 514,
            "type_vocab_size": 1, "pad_token_id": 1,
        },
    ),
    "1B": (
        "llama",
        {
            "num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 8192,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
            "max_position_embeddings": 8192, "pad_token_id": 0,
        },
    ),
    "3B": (
        "llama",
        {
            "num_hidden_layers": 28, "hidden_size": 3072, "intermediate_size": 8192,
            "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 128_256,
            "max_position_embeddings": 8192, "pad_token_id": 0,
        },
    ),
}  # fmt: skip
"""Model type and dimensions: RoBERTa-large (Liu et al. 2019), and Llama 3.2's two sizes."""
LEFT_OUT = dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), 2)
"""Positions that stay unused: these types number them from the padding token's id on."""
MARGIN = 1.25
"""Factor by which a further encoder must be larger than the study's own to tell anything."""
BLOCK = 4_194_301
"""Random numbers that the weights repeat; a prime, so that no two rows of a matrix are alike."""


def encoders(study: Model, *, on_gpu: bool) -> list[Encoder]:
    """Return the study's own encoder and the larger ones, the least first."""
    own = _encoder(OWN, config_of(study, OWN), study.head)
    if on_gpu:
        more = [_encoder(name, config_of(study, name)) for name in LARGE]
    elif all(hasattr(config_of(study, OWN), name) for name in GROWING):
        more = [_encoder(WIDE, config_of(study, WIDE), study.head)]
    else:
        more = []
    return [own, *(one for one in more if one.parameters > MARGIN * own.parameters)]


def config_of(study: Model, name: str) -> PretrainedConfig:
    """Return the configuration of an encoder of the sweep, for a task of two classes."""
    if name in LARGE:
        kind, dimensions = LARGE[name]
        made: PretrainedConfig = AutoConfig.for_model(
            kind, **dimensions, **task.config_keys(CLASSES)
        )
        return made
    config = load_config(study, labels=CLASSES)
    if name == WIDE:
        for key in GROWING:
            setattr(config, key, 2 * getattr(config, key))
    return config


def _encoder(name: str, config: PretrainedConfig, head: list[str] | None = None) -> Encoder:
    skeleton = outline(config)
    heads = find_head(skeleton, head)
    positions = int(getattr(config, "max_position_embeddings", None) or 512)
    return Encoder(
        name=name,
        parameters=sum(
            parameter.numel()
            for key, parameter in skeleton.named_parameters()
            if not inside(key, heads)
        ),
        outputs=sum(
            module.out_features
            for key, module in skeleton.named_modules()
            if isinstance(module, nn.Linear) and not inside(key, heads)
        ),
        longest=positions - LEFT_OUT.get(config.model_type, 0),
    )


def write_encoder(study: Model, *, name: str, folder: Path) -> None:
    """Write the checkpoint of one of the larger encoders: random weights, in bf16."""
    config = config_of(study, name)
    std = getattr(config, "initializer_range", None) or 0.02
    drawn = torch.randn(BLOCK, generator=torch.Generator().manual_seed(SEED)) * std
    block = drawn.to(torch.bfloat16)
    weights = {
        key: _filled(key, parameter.shape, block)
        for key, parameter in outline(config).named_parameters()
    }
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _filled(key: str, shape: torch.Size, block: torch.Tensor) -> torch.Tensor:
    """Return a matrix of the block's numbers, a scale of ones or a bias of zeros.

    To draw billions of normal numbers takes minutes; to copy them takes seconds.
    """
    made = torch.empty(shape, dtype=block.dtype)
    if made.dim() < 2:
        return made.fill_(1.0 if key.endswith("weight") else 0.0)
    flat = made.view(-1)
    for part in flat.split(len(block)):
        part.copy_(block[: len(part)])
    return made

"""Checkpoints with random weights: exact for time and memory, of no use for accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig

from fairtune.scaling.encoders import LARGE

_ROBERTA = {
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
# A decoder of half a billion parameters: as Qwen2-0.5B has them, for the families whose smallest
# published model is larger.
_DECODER = {
    "vocab_size": 32_000,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
}

SHAPES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "roberta": ("roberta", "roberta-base", {"vocab_size": 50_265, **_ROBERTA}),
    "bert": ("bert", "bert-base-uncased", {}),
    "distilbert": ("distilbert", "distilbert-base-uncased", {"pad_token_id": 0}),
    "electra": ("electra", "electra-base-discriminator", {
        "embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12,
        "intermediate_size": 3072, "pad_token_id": 0,
    }),
    "xlm-roberta": ("xlm-roberta", "xlm-roberta-base", {"vocab_size": 250_002, **_ROBERTA}),
    "camembert": ("camembert", "camembert-base", {"vocab_size": 32_005, **_ROBERTA}),
    "mpnet": ("mpnet", "all-mpnet-base-v2", {
        "vocab_size": 30_527, "max_position_embeddings": 514, "pad_token_id": 1,
    }),
    "deberta-v2": ("deberta-v2", "deberta-v3-base", {
        "vocab_size": 128_100, "relative_attention": True, "position_buckets": 256,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
        "max_relative_positions": -1, "position_biased_input": False, "type_vocab_size": 0,
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "layer_norm_eps": 1e-7, "pad_token_id": 0,
    }),
    "modernbert": ("modernbert", "ModernBERT-base", {}),
    "gpt2": ("gpt2", "gpt2", {"pad_token_id": 50_256}),
    "qwen2": ("qwen2", "Qwen2-0.5B", {
        "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "pad_token_id": 151_643,
    }),
    "qwen3": ("qwen3", "Qwen3-0.6B", {
        "vocab_size": 151_936, "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "pad_token_id": 151_643,
    }),
    "llama": ("llama", "a Llama of 0.4 billion parameters", _DECODER),
    "mistral": ("mistral", "a Mistral of 0.4 billion parameters", _DECODER),
    "gemma3_text": ("gemma3_text", "gemma-3-270m", {
        "vocab_size": 262_144, "hidden_size": 640, "intermediate_size": 2048,
        "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 256, "sliding_window": 512, "pad_token_id": 0,
    }),
    "phi": ("phi", "a Phi of 0.4 billion parameters", {
        **_DECODER, "num_key_value_heads": 16, "partial_rotary_factor": 0.5,
    }),
    "phi3": ("phi3", "a Phi-3 of 0.4 billion parameters", _DECODER),
    "llama-1b": ("llama", "Llama-3.2-1B", {**LARGE["1B"][1], "pad_token_id": 128_001}),
}  # fmt: skip
"""By name: the family, the published model that has this shape, and its configuration."""


def config_of(name: str, **changes: Any) -> PreTrainedConfig:
    """Return the configuration of a shape; the rest is the family's default."""
    family, _, keywords = SHAPES[name]
    config: PreTrainedConfig = AutoConfig.for_model(family, **{**keywords, **changes})
    return config


def write_shape(name: str, folder: Path, **changes: Any) -> Path:
    """Write a classifier of this shape with random weights, as safetensors, once."""
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForSequenceClassification.from_config(config_of(name, **changes))
        model.save_pretrained(folder, max_shard_size="100GB")
    return folder


def write_roberta(folder: Path, *, dropout: float = 0.1) -> Path:
    """Write an encoder of roberta-base's shape with random weights, as safetensors."""
    return write_shape(
        "roberta", folder, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout
    )

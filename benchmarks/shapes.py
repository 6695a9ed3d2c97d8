"""Checkpoints with random weights: exact for time and memory, of no use for accuracy."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, RobertaConfig

ROBERTA_BASE = {
    "vocab_size": 50_265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}


def write_roberta(folder: Path, *, dropout: float = 0.1) -> Path:
    """Write an encoder of roberta-base's shape with random weights, as safetensors."""
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(0)
        config = RobertaConfig(
            **ROBERTA_BASE,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        model = AutoModelForSequenceClassification.from_config(config)
        model.roberta.save_pretrained(folder)
    return folder

"""Merge an adapter into its model, for one folder that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from fairtune.core.errors import UserError
from fairtune.models.pretrained import auto_class
from fairtune.training.inference import merged
from fairtune.training.weights import base_config

# How PEFT calls a layer that it wrapped, and a module of which it trains a copy.
WRAPPED = ".base_layer."
TRAINED = ".modules_to_save.default."
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HINT = "hand the adapter on as it is: --to adapter"


def merge(model: Any, dtype: torch.dtype) -> Any:
    """Return the model with its adapter merged into the weights, as Transformers alone has it.

    Args:
        model: wrapped by PEFT, its weights not in 4 bits; it is of no further use afterwards.
        dtype: of the weights returned, which are merged in their own before.

    Raises:
        UserError: PEFT cannot merge the adapter, or more of it is left than weights.
    """
    whole, how = merged(model)
    if how != "merged":
        raise UserError(f"--to merged: {how}; {HINT}")
    base = whole.get_base_model()
    plain = auto_class().from_config(base_config(base))
    wanted = plain.state_dict()
    found = plain_state(base.state_dict())
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise UserError(f"--to merged: PEFT leaves no weights of {missing[0]} behind; {HINT}")
    plain.load_state_dict({name: found[name] for name in wanted})
    plain.config.dtype = dtype
    return plain.to(dtype)


def plain_state(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return merged weights by the names that they have in the model without an adapter."""
    # Where a module was trained as a copy, its original is left behind as well, by another name.
    return {name.replace(WRAPPED, ".").replace(TRAINED, "."): state[name] for name in state}


def load_plain(folder: Path, device: torch.device) -> Any:
    """Return the model of a folder, as any user of Transformers loads it."""
    logging.disable_progress_bar()
    return auto_class().from_pretrained(folder, use_safetensors=True).to(device)

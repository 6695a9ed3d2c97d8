"""Merge an adapter into its model, for one folder that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from fairtune.core.errors import UserError
from fairtune.models.pretrained import auto_class
from fairtune.training.inference import merged
from fairtune.training.weights import base_config

# What PEFT puts into the names of weights: of a layer that it wrapped, also for some tokens alone,
# and of a module of which it trains a copy.
INSERTED = re.compile(r"\.(token_adapter|base_layer|modules_to_save\.default)(?=\.)")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HINT = "hand the adapter on as it is: --to adapter"


def merge(model: Any, dtype: torch.dtype) -> Any:
    """Return the model with its adapter merged into the weights, as Transformers alone has it.

    Args:
        model: wrapped by PEFT, its weights not in 4 bits; it is of no further use afterwards.
        dtype: of the weights returned, which are merged in their own before.

    Raises:
        UserError: PEFT cannot merge the adapter.
    """
    whole, how = merged(model)
    if how != "merged":
        raise UserError(f"--to merged: {how}; {HINT}")
    return unwrapped(whole.get_base_model(), dtype)


def unwrapped(base: Any, dtype: torch.dtype) -> Any:
    """Return a model into whose weights an adapter is merged as Transformers alone has it.

    Raises:
        UserError: of a weight that such a model has, PEFT leaves none behind.
    """
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
    return {INSERTED.sub("", name): tensor for name, tensor in state.items()}


def load_plain(folder: Path, device: torch.device) -> Any:
    """Return the model of a folder, as any user of Transformers loads it."""
    logging.disable_progress_bar()
    return auto_class().from_pretrained(folder, use_safetensors=True).to(device)

"""Predict the memory that training holds at all times, from parameters and dtypes alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fairtune.runs.breakdown import Breakdown


def predict(model: nn.Module) -> Breakdown:
    """Return weights, gradients and AdamW's state of a model, in MiB.

    Counts what the process holds: PEFT's frozen copy of the head, the constants of 4-bit blocks
    and what an adapter holds besides its parameters (VeRA's shared matrices) included. Activations
    and workspace are not predicted.
    """
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    weights = sum(stored_bytes(parameter) for parameter in parameters)
    weights += sum(tensor_bytes(buffer) for buffer in model.buffers())
    gradients = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    return Breakdown.of_bytes(weights=weights, gradients=gradients)


def stored_bytes(parameter: nn.Parameter) -> int:
    """Return the bytes of a parameter, the quantisation constants of a 4-bit one included."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() * parameter.element_size() + _constants(state)


def tensor_bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor; of a sparse one, those of its values and their places."""
    if tensor.layout == torch.sparse_coo:
        held = tensor.coalesce()
        return tensor_bytes(held.values()) + tensor_bytes(held.indices())
    return tensor.numel() * tensor.element_size()


def _constants(state: Any) -> int:
    """Return the bytes of a quantisation state: the scales, and the scales' own scales."""
    if state is None:
        return 0
    own = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (getattr(state, name, None) for name in ("absmax", "code", "offset"))
        if isinstance(tensor, torch.Tensor)
    )
    return own + _constants(getattr(state, "state2", None))

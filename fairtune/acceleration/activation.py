"""The tanh form of GELU by torch's one kernel, where Transformers takes eight.

GPT-2, Phi and ALBERT name it `gelu_new`. Written out, its power is taken in fp32 under autocast,
and each step's result is kept for the backward pass: of GPT-2's memory in training it is a quarter.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import FastGELUActivation, NewGELUActivation


class TanhGelu(NewGELUActivation):
    """GELU with a tanh (Hendrycks and Gimpel, Gaussian Error Linear Units, 2016)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the activation, of the input's shape and precision."""
        return functional.gelu(input, approximate="tanh")


def install(model: nn.Module) -> None:
    """Let a model's activations of this form run in one kernel."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) in (NewGELUActivation, FastGELUActivation):
                setattr(parent, name, TanhGelu())

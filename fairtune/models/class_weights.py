"""Let a classifier compute its loss with a weight for each class.

The model itself does so, whatever calls it: the Trainer, a captured step, a pass to warm up. What
PEFT adds to a model's loss, as AdaLoRA does, is added to the weighted one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from fairtune.core import task


def install(model: Any, weights: Sequence[float], device: torch.device) -> None:
    """Weight the classes in the loss of a model, wrapped by PEFT or not.

    Args:
        model: a classifier with its weights.
        weights: of the classes, in the order of the model's outputs.
        device: where the model is.
    """
    computing = model
    # With prefixes PEFT calls what is below the head, and computes the loss itself.
    if hasattr(model, "peft_config") and not model.active_peft_config.is_prompt_learning:
        computing = model.get_base_model()
    computing.class_weights = torch.tensor(weights, dtype=torch.float32, device=device)
    kind: Any = type(computing)
    computing.__class__ = weighted(kind)


@functools.cache
def weighted(kind: Any) -> Any:
    """Return a class of models whose loss weights the classes by `class_weights`."""
    if getattr(kind, "weights_classes", False):
        return kind

    # PEFT reads the signature.
    @functools.wraps(kind.forward)
    def forward(self: Any, *arguments: Any, **keywords: Any) -> Any:
        output = kind.forward(self, *arguments, **keywords)
        if output.loss is not None:
            labels = keywords[task.LABELS]
            output["loss"] = task.weighted_loss(output.logits, labels, self.class_weights)
        return output

    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    # The name is saved with the weights: it must be one that Transformers knows.
    return type(kind.__name__, (kind,), {**names, "forward": forward, "weights_classes": True})

"""The task: to name one class out of several for each text. All that follows from it stands here.

Another kind of task would be another module like this one. The libraries' classes are given by
name, so that stages which load no torch can read predictions: `fairtune.models` looks them up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "sequence classification"
LABELS = "labels"
"""Name of the classes within a batch: what the model's forward pass takes them as."""
AUTO_CLASS = "AutoModelForSequenceClassification"
"""Transformers' class that loads a model with the head for it."""
PEFT_TYPE = "SEQ_CLS"
"""PEFT's name of the task, by which adapters keep the head trainable."""


def config_keys(classes: int) -> dict[str, Any]:
    """Return the keys of the model's configuration: how many classes, and one of them a text.

    A checkpoint's own may say otherwise; they choose the head's size and the loss, cross-entropy.
    """
    return {"num_labels": classes, "problem_type": "single_label_classification"}


def name_classes(config: Any, names: Sequence[str]) -> None:
    """Write the classes' names into a model's configuration, in the order of its outputs.

    Without them two classes are left out of what is saved, and families whose own default is
    another number cannot be loaded from it.
    """
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}


def loss_of(model: Any, batch: Mapping[str, Any]) -> Any:
    """Return the mean loss over a batch, the classes in it under `LABELS`: a tensor of shape ()."""
    return model(**batch).loss


def probabilities(logits: Any) -> Any:
    """Return what the model's outputs say, in fp32; tensors of shape (rows, classes)."""
    return logits.float().softmax(dim=-1)


def predicted(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the most probable class of each row, shape (rows,)."""
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def correct(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each row is predicted right, shape (rows,)."""
    return np.asarray(predicted(probabilities) == labels)


def score(correct: NDArray[np.bool_]) -> float:
    """Return how good predictions are, which validation and test report: the share of right ones.

    Args:
        correct: whether each row is right, shape (rows,).
    """
    return round(float(correct.mean()), 6)

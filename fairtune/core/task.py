"""The task: to name one class out of several for each text. All that follows from it stands here.

Another kind of task would be another module like this one. The libraries' classes are given by
name, so that stages which load no torch can read predictions: `fairtune.models` looks them up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtune.core.errors import UserError

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
    """Return the mean loss over a batch, the classes in it under `LABELS`: a tensor of shape ().

    A model that weights the classes (`fairtune.models.class_weights`) does so here too.
    """
    return model(**batch).loss


def loss_name(class_weights: str) -> str:
    """Return what the loss is, for `train.class_weights`."""
    return {"none": "cross-entropy", "balanced": "cross-entropy, classes balanced"}[class_weights]


def balanced_weights(labels: NDArray[np.int64], names: Sequence[str]) -> list[float]:
    """Return the weights of the classes by which each counts as much as any other in the loss.

    Rows over classes times rows of the class (King and Zeng, Logistic Regression in Rare Events
    Data, 2001; scikit-learn's "balanced"): their mean over the rows is 1.

    Args:
        labels: class of each training row, shape (rows,).
        names: of the classes.

    Raises:
        UserError: a class has no training rows.
    """
    counts = np.bincount(labels, minlength=len(names))
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if missing:
        raise UserError(
            f"train.class_weights: 'balanced', but class '{missing[0]}' has none of the "
            f"{len(labels):,} training rows; set none, or give each class training rows"
        )
    return [float(weight) for weight in len(labels) / (len(names) * counts)]


def weighted_loss(logits: Any, labels: Any, weights: Any) -> Any:
    """Return cross-entropy with weights of the classes: a tensor of shape ().

    The mean is that of torch's `CrossEntropyLoss(weight=...)`: over the sum of the rows' weights.

    Args:
        logits: the model's outputs, shape (rows, classes).
        labels: class of each row, shape (rows,).
        weights: of the classes, shape (classes,), fp32.
    """
    found = logits.float().log_softmax(dim=-1).gather(1, labels[:, None]).squeeze(1)
    of_rows = weights.index_select(0, labels)
    return -(of_rows * found).sum() / of_rows.sum()


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

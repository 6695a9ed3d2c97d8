"""The task: one class out of several, decided in one place."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from peft import TaskType

from fairtune.core import task
from fairtune.runs.record import Predictions

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, 1.0, 0.0]])


def test_the_names_that_the_task_gives_are_those_of_the_libraries() -> None:
    assert hasattr(transformers, task.AUTO_CLASS)
    assert task.PEFT_TYPE in {kind.value for kind in TaskType}


def test_probabilities_of_a_row_sum_to_one_and_keep_the_order_of_the_outputs() -> None:
    found = task.probabilities(LOGITS.to(torch.bfloat16))
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(dim=1), torch.ones(3))
    assert task.predicted(found.numpy()).tolist() == [0, 2, 1]


def test_the_score_is_the_share_of_rows_whose_most_probable_class_is_theirs() -> None:
    found = Predictions(
        row_ids=["a", "b", "c"],
        labels=np.array([0, 2, 0]),
        probabilities=task.probabilities(LOGITS).numpy(),
        tokens=np.array([5, 6, 7]),
    )
    assert found.predicted.tolist() == [0, 2, 1]
    assert found.correct.tolist() == [True, True, False]
    assert task.score(found.correct) == 0.666667

"""What a trained model said of the test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtune.core import task


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a run said of each test row, in the test split's order."""

    row_ids: list[str]
    labels: NDArray[np.int64]
    """True classes, shape (rows,)."""
    probabilities: NDArray[np.float32]
    """Softmax outputs, shape (rows, classes)."""
    tokens: NDArray[np.int64]
    """Tokens of each row after truncation, shape (rows,)."""
    groups: list[str] | None = None
    """Group of each row, where rows were drawn in groups."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class of each row, shape (rows,)."""
        return task.predicted(self.probabilities)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each row is right, shape (rows,)."""
        return task.correct(self.probabilities, self.labels)

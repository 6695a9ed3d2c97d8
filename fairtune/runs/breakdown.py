"""The predicted memory of a training: weights, gradients and AdamW's state."""

from __future__ import annotations

from typing import Self

from fairtune.core.units import MIB
from fairtune.runs.part import Part

MOMENTS = 2
"""Moments that AdamW keeps of each trained parameter, each as large as its gradient (Loshchilov and
Hutter, 2019, algorithm 2)."""


class Breakdown(Part):
    """Predicted memory in MiB from the model's own parameters and dtypes."""

    weights_mib: float
    gradients_mib: float
    optimizer_mib: float

    @classmethod
    def of_bytes(cls, *, weights: int, gradients: int) -> Self:
        """Return the memory of weights and gradients of so many bytes, trained by AdamW."""
        return cls(
            weights_mib=round(weights / MIB, 2),
            gradients_mib=round(gradients / MIB, 2),
            optimizer_mib=round(MOMENTS * gradients / MIB, 2),
        )

    @property
    def total_mib(self) -> float:
        """The sum of the parts."""
        return self.weights_mib + self.gradients_mib + self.optimizer_mib

"""The memory that each point should take, predicted from what few of the others took.

A training holds weights, gradients and AdamW's moments, which follow from the model alone
(`fairtune.models.footprint`). On top come activations, in proportion to the tokens of a step and to
what one token leaves in the encoder's linear layers, and what does not grow with either. The two
factors are fitted, for each method, on the points over rows in a batch of the study's own encoder;
all other points are predicted from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FITTED = "batch_size"
"""The axis whose points the activations are fitted on."""


def fit(
    loads: Sequence[float], held: Sequence[float], measured: Sequence[float]
) -> tuple[float, float] | None:
    """Fit `measured = held + fixed + slope * load` by least squares.

    Args:
        loads: of each point, tokens of a step times outputs of the encoder's linear layers.
        held: weights, gradients and moments in MiB.
        measured: peak memory in MiB.

    Returns:
        What is fixed, in MiB, and the slope; None where fewer than two loads were measured.
    """
    if len(set(loads)) < 2:
        return None
    rest = np.subtract(measured, held)
    slope, fixed = np.polyfit(np.asarray(loads, dtype=float), rest, 1)
    return float(fixed), float(slope)


def predicted(load: float, held: float, factors: tuple[float, float] | None) -> float | None:
    """Return the MiB that a point should take; None where nothing could be fitted."""
    if factors is None:
        return None
    fixed, slope = factors
    return round(held + fixed + slope * load, 1)

"""Records for the charts of what the methods got right: accuracy, confusion and calibration.

A record is a flat dict of plain values; each chart is a list of records with the same keys. Shares
lie between 0 and 1. `label` is printed beside the mark; `panel` says what is drawn, and records of
unlike panels never share an axis; `note` says where the figures come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtune.calibration import confusion_matrix, expected_calibration_error, reliability_bins
from fairtune.results import Run
from fairtune.statistics import AccuracyEstimate, accuracy_estimate

Runs = Mapping[str, Sequence[Run]]
Record = dict[str, Any]


def colors(methods: Sequence[str], palette: Sequence[str]) -> dict[str, str]:
    """Return the colour of each method: the palette in their order, from its start when it ends."""
    return {method: palette[place % len(palette)] for place, method in enumerate(methods)}


def axis_room(values: Sequence[float]) -> float:
    """Return the factor by which a logarithmic axis goes beyond its points, for their names."""
    spread: float = max(values) / min(values)
    return max(1.1, math.pow(spread, 0.17))


def percent(share: float, *, digits: int = 1) -> str:
    """Return a share as printed: 0.934 is '93.4%'."""
    return f"{100 * share:.{digits}f}%"


def seeds_text(runs: Runs) -> str:
    """Return how many trainings stand behind a mean: 'one seed', 'mean of 3 seeds'."""
    count = max(len(of_method) for of_method in runs.values())
    return "one seed" if count == 1 else f"mean of {count} seeds"


def correctness(of_method: Sequence[Run]) -> NDArray[np.bool_]:
    """Return which test rows each of a method's runs got right, shape (seeds, rows)."""
    return np.stack([run.predictions.correct for run in of_method])


def estimates(runs: Runs) -> dict[str, AccuracyEstimate]:
    """Return each method's test accuracy with its 95% interval."""
    return {method: accuracy_estimate(correctness(of_method)) for method, of_method in runs.items()}


def accuracy(runs: Runs, *, palette: Sequence[str]) -> list[Record]:
    """Return method, accuracy, low, high (95% interval), label, panel, note and color."""
    color = colors(list(runs), palette)
    return [
        {
            "method": method,
            "accuracy": round(estimate.mean, 4),
            "low": round(estimate.low, 4),
            "high": round(estimate.high, 4),
            "label": percent(estimate.mean),
            "panel": "on the test set; whiskers: 95% interval",
            "note": f"{estimate.rows:,} rows, {seeds_text(runs)}",
            "color": color[method],
        }
        for method, estimate in estimates(runs).items()
    ]


def confusion(runs: Runs) -> list[Record]:
    """Return method, actual, predicted, count and share (of the actual class), summed over seeds.

    A class without test rows keeps its cells, with the share left null.
    """
    records = []
    for method, of_method in runs.items():
        names = of_method[0].record.data.labels
        predicted_classes = np.stack([run.predictions.predicted for run in of_method])
        counts = confusion_matrix(of_method[0].predictions.labels, predicted_classes, len(names))
        for actual, predicted in np.ndindex(len(names), len(names)):
            of_class = int(np.sum(counts[actual]))
            share = round(int(counts[actual, predicted]) / of_class, 4) if of_class else None
            records.append({
                "method": method,
                "actual": names[actual],
                "predicted": names[predicted],
                "count": int(counts[actual, predicted]),
                "share": share,
                "label": "" if share is None else percent(share),
            })  # fmt: skip
    return records


def calibration(runs: Runs, *, palette: Sequence[str]) -> list[Record]:
    """Return the reliability bins of each method, all seeds together; empty bins are left out.

    confidence: mean probability given to the predicted class; accuracy: share of the bin's rows
    that are right; count: rows times seeds; panel: method with its expected calibration error.
    """
    color = colors(list(runs), palette)
    records = []
    for method, of_method in runs.items():
        labels = of_method[0].predictions.labels
        probabilities = np.stack([run.predictions.probabilities for run in of_method])
        error = expected_calibration_error(labels, probabilities)
        records += [
            {
                "method": method,
                "confidence": round(place.confidence, 4),
                "accuracy": round(place.accuracy, 4),
                "count": place.count,
                "panel": f"{method} (calibration error {percent(error)})",
                "color": color[method],
            }
            for place in reliability_bins(labels, probabilities)
            if place.confidence is not None and place.accuracy is not None
        ]
    return records

"""The tables behind the charts: one list of flat records each, committed as plots/<name>.json.

`dvc plots show` draws them through the templates in .dvc/plots, `fairtune.charts` for the report.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from fairtune import costs
from fairtune.outcomes import (
    Record,
    Runs,
    accuracy,
    axis_room,
    calibration,
    colors,
    confusion,
    estimates,
)
from fairtune.results import Run
from fairtune.statistics import PairVerdict, pareto_front

LETTER = 0.03  # of an axis: what a letter of a name takes
Tables = dict[str, list[Record]]


def tables(
    runs: Runs, *, palette: Sequence[str], verdicts: Sequence[PairVerdict] | None = None
) -> Tables:
    """Return every chart's records by the name of the chart.

    Args:
        runs: method -> one run a seed; its order is the order of the charts.
        palette: colours of the methods, in their order.
        verdicts: on every pair of methods; without them no place on the Pareto front is given.
    """
    outcome = accuracy(runs, palette=palette)
    return {
        "accuracy": outcome,
        # The same records for the zoomed chart: DVC draws an output's file once.
        "accuracy_interval": outcome,
        "train_seconds": costs.train_seconds(runs, palette=palette),
        "memory": costs.memory(runs, palette=palette),
        "memory_breakdown": costs.memory_breakdown(runs),
        "parameters": costs.parameters(runs, palette=palette),
        "pareto": pareto(runs, palette=palette, verdicts=verdicts),
        "loss": loss(runs, palette=palette),
        "confusion": confusion(runs),
        "calibration": calibration(runs, palette=palette),
    }


def loss(runs: Runs, *, palette: Sequence[str]) -> list[Record]:
    """Return method, step, epoch, loss and color: the training loss, mean over seeds at each step.

    A step that some seed lacks is left out, so that a curve does not jump where one ends; so is a
    loss that is not a number, as after a training that diverged.
    """
    color = colors(list(runs), palette)
    records = []
    for method, of_method in runs.items():
        by_step: defaultdict[int, list[dict[str, float]]] = defaultdict(list)
        for point in (point for run in of_method for point in run.history):
            if point.get("loss") is not None and np.isfinite(point["loss"]):
                by_step[int(point["step"])].append(point)
        records += [
            {
                "method": method,
                "step": step,
                "epoch": round(float(points[0]["epoch"]), 3),
                "loss": round(float(np.mean([point["loss"] for point in points])), 4),
                "color": color[method],
            }
            for step, points in sorted(by_step.items())
            if len(points) == len(of_method)
        ]
    return records


def pareto(
    runs: Runs, *, palette: Sequence[str], verdicts: Sequence[PairVerdict] | None = None
) -> list[Record]:
    """Return accuracy against each cost: one record a cost and method that has it.

    cost: name of the cost; panel: the same with its unit; value: mean over seeds, lower is better;
    accuracy, low, high; status: place on the Pareto front, or null; above, below, top, bottom: see
    `_place_names`.
    """
    color, found = colors(list(runs), palette), estimates(runs)
    records = []
    for cost, (panel, measure) in _costs(runs).items():
        values = costs.means(runs, measure, digits=2)
        front = {} if verdicts is None else pareto_front(values, verdicts)
        of_cost: list[Record] = [
            {
                "cost": cost,
                "panel": panel,
                "method": method,
                "value": value,
                "accuracy": round(found[method].mean, 4),
                "low": round(found[method].low, 4),
                "high": round(found[method].high, 4),
                "status": front[method].status if front else None,
                "color": color[method],
            }
            for method, value in values.items()
            if value > 0  # the axis is logarithmic
        ]
        _place_names(of_cost)
        records += of_cost
    return records


def _place_names(records: list[Record]) -> None:
    """Add where to write names, so that those of methods of like cost do not overlap.

    Such methods share two lists, `above` their highest whisker (at `top`) and `below` their lowest
    (at `bottom`), each from the most accurate down. The first and the last of them hold the lists.
    """
    rows = sorted(records, key=lambda record: float(record["value"]))
    values = [float(row["value"]) for row in rows]
    span = math.log(values[-1] / values[0] * axis_room(values) ** 2) if rows else 0.0
    near = LETTER * span * max((len(row["method"]) for row in rows), default=0)
    groups: list[list[Record]] = []
    for row in rows:
        if groups and math.log(row["value"] / groups[-1][-1]["value"]) <= near:
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        group.sort(key=lambda record: -float(record["accuracy"]))
        names = [record["method"] for record in group]
        half = (len(names) + 1) // 2
        top, bottom = max(r["high"] for r in group), min(r["low"] for r in group)
        for record in group:
            record.update(above="", below="", top=top, bottom=bottom)
        group[0]["above"] = "\n".join(names[:half])
        group[-1]["below"] = "\n".join(names[half:])


def _costs(runs: Runs) -> dict[str, tuple[str, costs.Measure]]:
    """Return the costs: name -> panel title with the unit, and the figure of one run."""
    memory, kind, _ = costs.memory_measure(runs)

    def trained(run: Run) -> float:
        return float(run.record.counts.trainable)

    return {
        "train_seconds": ("training time (s)", lambda run: run.record.times.train_seconds),
        "memory": (f"{kind} (MiB)", memory),
        "parameters": ("trained parameters", trained),
        "shipped": ("size to ship (MiB)", lambda run: run.record.shipped_mib),
    }

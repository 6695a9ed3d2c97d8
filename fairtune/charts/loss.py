"""Training loss: a curve a method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from fairtune.charts.records import Compared, Record
from fairtune.charts.style import FEW, WIDTH, Look, grouped


def records(compared: Compared) -> list[Record]:
    """Return method, step, epoch, loss, name and color: the loss, mean over seeds at each step.

    name: which loss was trained on.
    A step that some seed lacks is left out, so that a curve does not jump where one ends; so is a
    loss that is not a number, as after a training that diverged.
    """
    runs, color = compared.runs, compared.colors
    made = []
    for method, of_method in runs.items():
        by_step: defaultdict[int, list[dict[str, float]]] = defaultdict(list)
        for point in (point for run in of_method for point in run.history):
            if point.get("loss") is not None and np.isfinite(point["loss"]):
                by_step[int(point["step"])].append(point)
        made += [
            {
                "method": method,
                "step": step,
                "epoch": round(float(points[0]["epoch"]), 3),
                "loss": round(float(np.mean([point["loss"] for point in points])), 4),
                "name": of_method[0].record.execution.loss or "cross-entropy",
                "color": color[method],
            }
            for step, points in sorted(by_step.items())
            if len(points) == len(of_method)
        ]
    return made


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """One curve a method, told apart by dash as well as by colour."""
    lines = -(-len(look) // 3) if len(look) > FEW else 0
    figure = Figure(figsize=(WIDTH, 2.2 + 0.17 * lines), layout="constrained")
    axes = figure.subplots()
    for method, points in grouped(records, "method").items():
        style = look[method]
        axes.plot(
            [point["step"] for point in points], [point["loss"] for point in points], label=method,
            color=style.color, linestyle=style.dash, linewidth=1.2,
            marker=style.marker if len(points) == 1 else None,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(f"{records[0]['name']} (nats)")
    if lines:
        figure.legend(loc="outside lower center", ncols=3, handlelength=2.6, columnspacing=1)
    else:
        axes.legend(handlelength=3.2)
    return figure

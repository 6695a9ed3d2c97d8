"""What the memory holds: weights, gradients, optimizer state and the rest."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fairtune.analysis.costs import all_have, reason
from fairtune.analysis.formats import mebibytes
from fairtune.analysis.quiet import MIXED, is_mixed, means
from fairtune.charts.bars import end_labels, method_figure, wrapped
from fairtune.charts.records import Compared, Record, cost_label, left_out_text, seeds_text
from fairtune.charts.style import Look, note_missing


def records(compared: Compared) -> list[Record]:
    """Return method, part, memory_mib, total_mib, label, panel and note: the stack, in order.

    Weights, gradients and optimizer state are predicted from the parameters; the rest (activations
    and workspace) is the measured peak of tensors less these, where every run that counts has that
    peak. Beside such stacks, one without the rest would look small: it is left out.
    """
    runs = compared.runs
    peaks = means(runs, "memory.gpu_allocated_mib") if all_have(runs, "gpu_allocated_mib") else {}
    measured = bool(peaks)
    panel = "predicted from the parameters, "
    panel += "and the rest of the measured peak" if measured else "no activations"
    why = MIXED if is_mixed(runs) else "every run shared it"
    lack = f"GPU not measured: {reason(runs, 'gpu_allocated_mib') or why}"
    note = f"{seeds_text(runs)}{left_out_text(runs)}" if measured else lack
    made = []
    for method in peaks or runs:
        predicted = runs[method][0].record.predicted
        total = peaks.get(method, predicted.total_mib)
        parts = {
            "weights": predicted.weights_mib,
            "gradients": predicted.gradients_mib,
            "optimizer state": predicted.optimizer_mib,
            "activations and other": total - predicted.total_mib,
        }
        made += [
            {
                "method": method,
                "part": part,
                "memory_mib": round(size, 1),
                "total_mib": round(total, 1),
                "label": cost_label(mebibytes(total), method, runs)
                if measured
                else mebibytes(total),
                "panel": panel,
                "note": note,
            }
            for part, size in parts.items()
            if size > 0
        ]
    return made


PARTS = {
    "weights": ("#12355b", ""),
    "gradients": ("#3f7cac", "////"),
    "optimizer state": ("#95bbd6", "...."),
    "activations and other": ("#e3e1d3", ""),
}


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Stacked bars, the parts in order."""
    unit = wrapped(f"MiB, {records[0]['panel']} · {records[0]['note']}")
    figure, rows = method_figure(look, extra=0.55 + 0.13 * max(0, unit.count("\n") - 1))
    axes = figure.axes[0]
    filled = dict.fromkeys(rows, 0.0)
    for record in records:
        method, (color, hatch) = record["method"], PARTS[record["part"]]
        axes.barh(
            rows[method], record["memory_mib"], left=filled[method], height=0.62, color=color,
            hatch=hatch, edgecolor="white", linewidth=0.5, label=record["part"],
        )  # fmt: skip
        filled[method] += record["memory_mib"]
    end_labels(axes, {r["method"]: (r["total_mib"], r["label"]) for r in records}, rows)
    axes.set_xlabel(unit)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=2)
    note_missing(axes, rows, records)
    return figure

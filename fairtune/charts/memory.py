"""Peak memory: a bar a method."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fairtune.analysis.costs import costs, memory_of_runs, reason
from fairtune.analysis.formats import mebibytes
from fairtune.analysis.quiet import means
from fairtune.charts.bars import horizontal_bars, wrapped
from fairtune.charts.records import Compared, Record, cost_label, left_out_text, seeds_text
from fairtune.charts.style import Look


def records(compared: Compared) -> list[Record]:
    """Return method, memory_mib (GPU, or else host), label, panel, note and color."""
    runs, color = compared.runs, compared.colors
    memory = memory_of_runs(runs)
    cause = reason(runs, "gpu_memory_mib")
    missing = "process" if memory.on_gpu else "GPU"
    lack = f" · {missing} not measured: {cause}" if cause else ""
    return [
        {
            "method": method,
            "memory_mib": value,
            "label": cost_label(mebibytes(value), method, runs),
            "panel": f"{memory.name} {memory.meaning}{lack}",
            "note": f"{seeds_text(runs)}{left_out_text(runs)}",
            "color": color[method],
        }
        for method, value in means(runs, costs(memory)["memory"].field).items()
    ]


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero; the axis says which memory it is."""
    unit = wrapped(f"MiB, peak {records[0]['panel']}")
    return horizontal_bars(records, look, field="memory_mib", unit=unit)

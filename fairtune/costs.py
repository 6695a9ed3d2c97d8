"""Records for the charts of what the methods cost: time, parameters and memory.

Values are means over seeds. What was not measured has no record: 0 would look like a free lunch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairtune.outcomes import Record, Runs, colors, seeds_text
from fairtune.results import Memory, Run, mean_or_none

Measure = Callable[[Run], float | None]
Counter = Callable[[Memory], float | None]
MEMORIES: tuple[tuple[Counter, str, str], ...] = (
    (lambda m: m.gpu_memory_mib, "GPU memory", "of the process, as nvidia-smi shows it"),
    (lambda m: m.gpu_device_delta_mib, "GPU memory", "of the device, beyond that at the start"),
    (lambda m: m.host_memory_mib, "host memory", "of the process"),
)


def means(runs: Runs, measure: Measure, *, digits: int = 1) -> dict[str, float]:
    """Return the mean over seeds of one figure for each method that has it for every seed."""
    found = {
        method: mean_or_none([measure(run) for run in of_method], digits=digits)
        for method, of_method in runs.items()
    }
    return {method: mean for method, mean in found.items() if mean is not None}


def train_seconds(runs: Runs, *, palette: Sequence[str]) -> list[Record]:
    """Return method, seconds, label, panel, note and color."""
    color = colors(list(runs), palette)
    note = f"{seeds_text(runs)}, on {_devices(runs)}"
    seconds = means(runs, lambda run: run.record.times.train_seconds, digits=2)
    return [
        {
            "method": method,
            "seconds": value,
            "label": f"{value:,.{_decimals(value)}f} s",
            "panel": "training loop alone",
            "note": note,
            "color": color[method],
        }
        for method, value in seconds.items()
    ]


def parameters(runs: Runs, *, palette: Sequence[str]) -> list[Record]:
    """Return method, part, parameters, label and color: one a method and part that it trains.

    The head is trained by every method and is most of what a small adapter trains, so it stands
    apart; a part that a method does not train has no record.
    """
    color = colors(list(runs), palette)
    records = []
    for method, of_method in runs.items():
        counts = of_method[0].record.counts
        encoder = counts.trainable - counts.adapter - counts.head
        parts = {"adapter": counts.adapter, "head": counts.head, "encoder": encoder}
        records += [
            {
                "method": method,
                "part": part,
                "parameters": count,
                "label": f"{count:,}",
                "color": color[method],
            }
            for part, count in parts.items()
            if count > 0
        ]
    return records


def memory_measure(runs: Runs) -> tuple[Measure, str, str]:
    """Return the memory that the charts show, its short name and what exactly it is.

    The first of `MEMORIES` that every run has: methods measured in different ways would not be
    comparable, so one run without a counter rules it out for all, and the name says what is shown.
    """
    counter, kind, meaning = next(entry for entry in MEMORIES if _all_have(runs, entry[0]))
    return lambda run: counter(run.record.memory), kind, meaning


def memory(runs: Runs, *, palette: Sequence[str]) -> list[Record]:
    """Return method, memory_mib (GPU, or else host), label, panel, note and color."""
    color = colors(list(runs), palette)
    measure, kind, meaning = memory_measure(runs)
    reason = _reason(runs, "gpu_memory_mib")
    missing = "GPU" if kind == "host memory" else "process"
    lack = f" · {missing} not measured: {reason}" if reason else ""
    return [
        {
            "method": method,
            "memory_mib": value,
            "label": f"{value:,.0f} MiB",
            "panel": f"{kind} {meaning}{lack}",
            "note": seeds_text(runs),
            "color": color[method],
        }
        for method, value in means(runs, measure).items()
    ]


def memory_breakdown(runs: Runs) -> list[Record]:
    """Return method, part, memory_mib, total_mib, label, panel and note: the stack, in order.

    Weights, gradients and optimizer state are predicted from the parameters; the rest (activations
    and workspace) is the measured peak of tensors less these, where every run has that peak.
    """
    measured = _all_have(runs, lambda memory: memory.gpu_allocated_mib)
    peaks = means(runs, lambda run: run.record.memory.gpu_allocated_mib) if measured else {}
    panel = "predicted from the parameters, "
    panel += "and the rest of the measured peak" if measured else "no activations"
    lack = f"GPU not measured: {_reason(runs, 'gpu_allocated_mib')}"
    note = seeds_text(runs) if measured else lack
    records = []
    for method, of_method in runs.items():
        predicted = of_method[0].record.predicted
        total = peaks.get(method, predicted.total_mib)
        parts = {
            "weights": predicted.weights_mib,
            "gradients": predicted.gradients_mib,
            "optimizer state": predicted.optimizer_mib,
            "activations and other": total - predicted.total_mib,
        }
        records += [
            {
                "method": method,
                "part": part,
                "memory_mib": round(size, 1),
                "total_mib": round(total, 1),
                "label": f"{total:,.0f} MiB",
                "panel": panel,
                "note": note,
            }
            for part, size in parts.items()
            if size > 0
        ]
    return records


def _all_have(runs: Runs, counter: Counter) -> bool:
    everyone = [run for of_method in runs.values() for run in of_method]
    return all(counter(run.record.memory) is not None for run in everyone)


def _reason(runs: Runs, counter: str) -> str:
    """Return why a counter of memory is missing, as the first run without it says; '' if none."""
    for run in (run for of_method in runs.values() for run in of_method):
        if getattr(run.record.memory, counter) is None:
            return run.record.memory.unavailable.get(counter, "no reason recorded")
    return ""


def _devices(runs: Runs) -> str:
    names = [run.record.device.name for of_method in runs.values() for run in of_method]
    return " and ".join(dict.fromkeys(names))


def _decimals(value: float) -> int:
    """Return the decimals that leave about three figures."""
    return 0 if value >= 100 else 1 if value >= 10 else 2

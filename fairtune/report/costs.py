"""Sentences on what the methods cost, and on what is gained in one quantity and lost in another."""

from __future__ import annotations

from collections.abc import Mapping

from fairtune.analysis.costs import SAME
from fairtune.analysis.formats import NOT_MEASURED, number, percent
from fairtune.report.accuracy import against
from fairtune.report.quiet import lacking, whose
from fairtune.report.study import Evidence
from fairtune.report.wording import capital, listing, literal, method, methods, relative


def extremes(evidence: Evidence, cost: str) -> str:
    """Return who costs least and who most, or that all cost alike; and who has no figure."""
    name, values = evidence.costs[cost].name, evidence.spent(cost)
    without = [one for one in evidence.names if one not in values]
    if not values:
        return f"The {name} is {NOT_MEASURED}: {lacking(evidence, without)}."
    lack = f" It is {NOT_MEASURED} for {methods(without)}, {whose(evidence)}." if without else ""
    return f"The {name} {_spread(evidence, cost, values)}.{lack}"


def _spread(evidence: Evidence, cost: str, values: Mapping[str, float]) -> str:
    show = evidence.costs[cost].show
    least, most = min(values, key=lambda m: values[m]), max(values, key=lambda m: values[m])
    if len(values) == 1:
        return f"of {method(least)} is {show(values[least])}"
    if values[most] <= values[least] * (1 + SAME):
        alike = "all methods" if len(values) == len(evidence.names) else methods(list(values))
        return f"is much the same for {alike} ({show(values[least])})"
    return (
        f"is lowest for {method(least)} ({show(values[least])}) and highest for "
        f"{method(most)} ({show(values[most])}, {relative(values[most], values[least])})"
    )


def memory_note(evidence: Evidence) -> str:
    """Return what was measured as memory, and that GPU memory was not where it was not."""
    if evidence.memory.on_gpu:
        return ""
    reason = evidence.first.memory.unavailable.get("gpu_memory_mib", "no reason recorded")
    return (
        f"GPU memory was not measured ({literal(reason)}); memory below is the peak host memory of "
        "the training process."
    )


def memory_source(evidence: Evidence) -> str:
    """Return which peak is shown as memory, and who counts it."""
    return evidence.memory.source


def against_baseline(evidence: Evidence) -> list[str]:
    """Return a sentence a method on what it saves and costs against the baseline."""
    base = evidence.baseline
    return [_trade(evidence, name, base) for name in evidence.names if name != base]


def _trade(evidence: Evidence, name: str, base: str) -> str:
    """Return gains before losses, then the verdict on the score."""
    without = [one for one in (name, base) if one in evidence.uncosted]
    if without:
        said = f"The costs of {method(name)} cannot be held against those of {method(base)}"
        return f"{said}, because {lacking(evidence, without)}; {against(evidence, name, base)}."
    gains: list[str] = []
    losses: list[str] = []
    level: list[str] = []
    for cost in ("memory", "training_time"):
        what, values = evidence.costs[cost].name, evidence.spent(cost)
        clause = f"{relative(values[name], values[base])} {what}"
        # No ratio: the time of a tiny training is rounded to 0.
        more = values[name] - values[base]
        if abs(more) <= SAME * values[base] or "about" in clause:
            level.append(what)
        else:
            (gains if more < 0 else losses).append(clause)
    said = f"Against {method(base)}, {method(name)} "
    if gains and losses:
        said += f"takes {listing(gains)} but {listing(losses)}"
    elif gains or losses:
        said += f"takes {listing(gains or losses)}"
        said += f" and about the same {listing(level)}" if level else ""
    else:
        said += f"takes about the same {listing(level)}"
    return f"{said}; {against(evidence, name, base)}."


def storage(evidence: Evidence) -> list[str]:
    """Return what 4-bit weights change, for methods that differ from another in nothing else."""
    said = []
    for name in evidence.names:
        twin = _twin(evidence, name)
        if twin is None or {name, twin} & set(evidence.uncosted):
            continue
        memory, time = evidence.spent("memory"), evidence.spent("training_time")
        said.append(
            f"{method(name)} differs from {method(twin)} in storing the frozen weights in 4 bits: "
            f"it takes {relative(memory[name], memory[twin])} {evidence.memory.name} and "
            f"{relative(time[name], time[twin])} training time."
        )
    return said


def _twin(evidence: Evidence, name: str) -> str | None:
    """Return the method that differs in quantisation alone; the learning rate may differ too."""
    free = {"quantize": None, "learning_rate": 0.5}
    block = evidence.block(name)
    if block.quantize is None:
        return None
    alike = block.model_copy(update=free)
    for other in evidence.names:
        if other != name and evidence.block(other).model_copy(update=free) == alike:
            return other
    return None


def parts(evidence: Evidence) -> str:
    """Return how much of each method's trained parameters is the head."""
    shares = {
        name: of_method[0].counts.head / of_method[0].counts.trainable
        for name, of_method in evidence.records.items()
        if of_method[0].counts.adapter
    }
    if not shares:
        return ""
    said = listing(f"{percent(share)} for {method(name)}" for name, share in shares.items())
    return f"The classification head makes up part of what is trained: {said}."


def breakdown(evidence: Evidence) -> str:
    """Return how much of the measured peak the weights, gradients and moments explain."""
    peaks = evidence.values("gpu_allocated_mib")
    if not peaks or not evidence.measured("gpu_allocated_mib"):
        return ""
    shares = {
        name: 1 - evidence.records[name][0].predicted.total_mib / peak
        for name, peak in peaks.items()
    }
    said = listing(f"{percent(share)} for {method(name)}" for name, share in shares.items())
    return f"Activations and workspace make up the rest of what tensors hold at the peak: {said}."


def front(evidence: Evidence) -> list[str]:
    """Return, for each cost, which methods another one makes pointless."""
    said = []
    for cost, entry in evidence.costs.items():
        places = {
            record["method"]: record["status"]
            for record in evidence.tables.get("pareto", [])
            if record["cost"] == cost
        }
        on = [one for one, status in places.items() if status == "on the front"]
        out = [one for one, status in places.items() if status == "dominated"]
        if on and len(places) > 1:
            verb = "is" if len(on) == 1 else "are"
            lost = f"; {methods(out)} {'is' if len(out) == 1 else 'are'} dominated" if out else ""
            said.append(f"{capital(entry.name)}: {methods(on)} {verb} on the front{lost}.")
    return said


def merging(evidence: Evidence) -> str:
    """Return what merging does to the time of one prediction, where an adapter can be merged."""
    said = []
    for name in evidence.names:
        before = evidence.mean("inference.latency_ms", name, digits=1)
        after = evidence.mean("inference.merged_latency_ms", name, digits=1)
        if before is not None and after is not None:
            change = f"from {number(before, digits=1)} to {number(after, digits=1)} ms"
            said.append(f"{method(name)} {change}")
    if not said:
        return ""
    return (
        f"Merging the adapter into the weights changes the time of one prediction: {listing(said)}."
    )

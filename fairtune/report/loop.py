"""Sentences on which training loop the costs are of, and how much slower a plain one is."""

from __future__ import annotations

from collections.abc import Mapping

from fairtune.analysis.formats import number
from fairtune.report.families import Factor, kind
from fairtune.report.study import Evidence
from fairtune.report.wording import listing, literal, method, methods

DEVICES = {"cuda": "a GPU", "cpu": "a processor", "mps": "a GPU of this kind"}
PLAIN = "a plain Trainer with stock PEFT"
Found = Mapping[str, Factor | None]
"""Method -> its factor, None where there is none."""


def costs_of(evidence: Evidence) -> str:
    """Return which training loop the costs are of, and how much slower a plain Trainer is."""
    if evidence.first.parameters["train"].get("kernels", "fast") == "stock":
        return (
            "The costs are those of PEFT's and Transformers' own layers, run eagerly: the study "
            "sets train.kernels to stock."
        )
    return f"{_loop(evidence)} {_comparison(evidence)}"


def _loop(evidence: Evidence) -> str:
    """Return what the loop does that a plain one does not."""
    run = evidence.first
    traits = []
    if run.execution.captured_steps:
        traits.append("replays captured CUDA graphs")
    if run.device.precision == "bf16":
        traits.append("holds frozen layers in bf16")
    if run.execution.captured_steps:
        traits.append("pads batches to a few lengths (buckets)")
    else:
        traits.append("pads each batch to its longest text")
    return f"The costs are those of fairtune's own training loop, which {listing(traits)}."


def _comparison(evidence: Evidence) -> str:
    """Return the factor of each method; for those without one, why."""
    run = evidence.first
    here = [
        one
        for one in evidence.factors
        if (one.type, one.family) == (run.device.type, run.model_type)
    ]
    if not here:
        models = (
            f"models of the family {literal(run.model_type)}" if run.model_type else "this model"
        )
        return (
            f"How much slower {PLAIN} is was not measured for {models} on "
            f"{DEVICES[run.device.type]}."
        )
    if run.device.type == "cuda" and not run.execution.captured_steps:
        return (
            f"How much slower {PLAIN} is was measured with captured steps alone, and those of this "
            "study ran eagerly."
        )
    # Of one device for all methods, this study's where it was measured.
    device = next((one.device for one in here if one.device == run.device.name), here[0].device)
    of_kind = {one.method: one for one in here if one.device == device}
    found = {name: of_kind.get(kind(evidence.block(name)) or "") for name in evidence.names}
    return " ".join([*_measured(found, device), *_lacking(evidence, found)])


def _measured(found: Found, device: str) -> list[str]:
    """Return the factors in a sentence; none where there are none."""
    times = {name: one.times for name, one in found.items() if one is not None}
    said = listing(
        f"{number(factor, digits=1)} times as long for {method(name)}"
        for name, factor in times.items()
        if factor is not None
    )
    if not said:
        return []
    return [
        f"For the same rows, {PLAIN} takes {said}, as the project's benchmark measured it for the "
        f"same family of models on one {literal(device)}."
    ]


def _reason(one: Factor) -> str:
    """Return why a factor has no figure."""
    return literal(one.note.rstrip(".")) if one.note else "it was not measured"


def _lacking(evidence: Evidence, found: Found) -> list[str]:
    """Return a sentence for each reason why methods have no factor."""
    said = [
        f"For {method(name)} there is no factor: {_reason(one)}."
        for name, one in found.items()
        if one is not None and one.times is None
    ]
    missing = [name for name, one in found.items() if one is None]
    other = [name for name in missing if kind(evidence.block(name)) is None]
    unmeasured = [name for name in missing if name not in other]
    if other:
        said.append(
            f"For {methods(other)} there is no factor: the benchmark knows full fine-tuning, LoRA, "
            "QLoRA and (IA)³."
        )
    if unmeasured:
        said.append(f"For {methods(unmeasured)} it was not measured.")
    return said

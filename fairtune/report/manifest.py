"""The fairness manifest as a table: what was checked to be the same in every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fairtune.analysis.formats import number
from fairtune.report.study import Evidence
from fairtune.report.tables import Exhibit
from fairtune.report.wording import MANY, capital, count, literal, method, plain, setting

HASHED = 64
"""Letters of a SHA-256: a table says that such a value is shared and leaves it out."""


def fairness(evidence: Evidence) -> Exhibit:
    """Return the fairness manifest: what was checked to be the same in every run."""
    manifest = evidence.comparison["fairness"]
    said = {"training settings": "all the same (see the settings)", "library versions": "the same"}
    rows = [
        [capital(plain(key)), said.get(key, _same(value))]
        for key, value in manifest["identical"].items()
        if value is not None
    ]
    rows += [[capital(key), "the same by seed"] for key in manifest["identical_by_seed"]]
    rows.append(["Gradient checkpointing", setting(manifest["gradient_checkpointing"])])
    note = "What differs by design is each method's own block, shown with the settings."
    search = evidence.search
    if search is not None and search["equal_budget"]:
        trials = next(iter(search["methods"].values()))["trials"]
        rows.append(["Trials of learning rates", number(trials)])
    elif search is not None:
        note += " The budgets of the searches of learning rates differ, too."
    if evidence.mixed:
        rows.append(["Devices, not the same", _kinds(manifest["mixed_devices"])])
    if manifest["other_use_of_the_gpu"]:
        rows.append(["Other use of the GPU", _others(manifest["other_use_of_the_gpu"])])
    return Exhibit(
        label="fairness",
        caption="Fairness manifest: identical in all runs",
        header=["What", "Value"],
        rows=rows,
        note=note,
    )


def _kinds(found: Mapping[str, Mapping[str, str]]) -> str:
    """Return how many runs were of each device."""
    names = Counter(name for seeds in found.values() for name in seeds.values())
    return "; ".join(f"{literal(name)}: {count(many, 'run')}" for name, many in names.items())


def _others(found: Mapping[str, Mapping[str, str]]) -> str:
    """Return which runs shared the GPU, and with whom."""
    return "; ".join(
        f"{method(name)} with seed {seed}: {literal(who)}"
        for name, seeds in found.items()
        for seed, who in seeds.items()
    )


def _same(value: Any) -> str:
    if isinstance(value, str) and len(value) == HASHED:
        return "the same SHA-256"
    if isinstance(value, dict):
        known = {key: item for key, item in value.items() if item is not None}
        if len(known) == 1:
            return setting(next(iter(known.values())))
        return ", ".join(f"{key} {_same(item)}" for key, item in known.items())
    if isinstance(value, list) and len(value) > MANY:
        return f"the same {number(len(value))}"
    if isinstance(value, int) and not isinstance(value, bool):
        return number(value)
    return setting(value)

"""What two records of one training, made on two machines or days, do not have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairtune.analysis.fairness import (
    BEFORE,
    BY_DESIGN,
    IDENTICAL,
    IDENTICAL_BY_SEED,
    REPLAYED,
)
from fairtune.runs.record import RunRecord

ABSENT = "none"
# How a training is carried out; what is trained, on what and for how long is the same.
EXECUTION = (
    "train.evaluation_batch_size",
    "train.logging_steps",
    "train.device",
    "train.precision",
    "train.kernels",
    "train.cuda_graphs",
    "train.allow_busy_gpu",
)
# Keys that records of old lack, with what they did.
BEFORE_THE_KEY = {"train.class_weights": "none"}
# The machine's share of what `compare` asks to be the same within a study.
MACHINE = {
    name: read
    for name, read in (IDENTICAL | IDENTICAL_BY_SEED).items()
    if name
    in {
        "device",
        "name of the device",
        "driver",
        "precision",
        "CPU threads",
        "attention",
        "optimizer",
        "order of the training rows",
        "first weights of the head",
        REPLAYED,
    }
}
SHOWN = 40
"""Characters of a value; hashes are cut to eight."""

Pair = tuple[str, str]


def other_data(committed: RunRecord, here: RunRecord) -> str | None:
    """Return which rows are not the same, None where all are."""
    for what, ours, theirs in (
        ("the subset of rows is another", committed.data.subset_sha256, here.data.subset_sha256),
        ("the token ids are others", committed.data.encoded_sha256, here.data.encoded_sha256),
        ("the classes are others", committed.data.labels, here.data.labels),
    ):
        if ours != theirs:
            return what
    return None


def parameters(committed: RunRecord, here: RunRecord) -> dict[str, Pair]:
    """Return the keys of params.yaml in which two runs differ, with both values."""
    ours, theirs = _flat(committed), _flat(here)
    return {
        key: (_shown(ours.get(key)), _shown(theirs.get(key)))
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    }


def circumstances(committed: RunRecord, here: RunRecord) -> dict[str, Pair]:
    """Return what differs in device, precision, kernels and libraries, with both values."""
    found = {
        name: (_shown(read(committed)), _shown(read(here)))
        for name, read in MACHINE.items()
        if read(committed) != read(here)
    }
    found |= {k: pair for k, pair in parameters(committed, here).items() if k in EXECUTION}
    # Only where both trained on a processor: a GPU's host merely feeds it.
    if ABSENT in found.get("CPU threads", ()):
        del found["CPU threads"]
    for library in dict.fromkeys([*committed.versions, *here.versions]):
        pair = committed.versions.get(library), here.versions.get(library)
        if library not in BEFORE and pair[0] != pair[1]:
            found[library] = (_shown(pair[0]), _shown(pair[1]))
    return found


def _flat(record: RunRecord) -> dict[str, Any]:
    """Return the parameters under the names that params.yaml gives them."""
    sections = {
        f"methods.{record.method}" if name == BY_DESIGN else name: section
        for name, section in record.parameters.items()
    }
    return BEFORE_THE_KEY | {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in (section.items() if isinstance(section, Mapping) else [("", section)])
    }


def _shown(value: Any) -> str:
    if value is None:
        return ABSENT
    text = str(value)
    is_hash = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:8] if is_hash else text[:SHOWN]

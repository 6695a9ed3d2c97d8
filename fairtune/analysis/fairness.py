"""What is identical across the methods, what differs by design, and proof of both.

A comparison is worth only what its runs have in common. Whatever is not listed under `BY_DESIGN`
must be the same in every run, or the comparison is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairtune.core.errors import UserError
from fairtune.runs.record import RunRecord, Runs

# Of one study: the same in every run.
IDENTICAL: dict[str, Callable[[RunRecord], Any]] = {
    "training, validation and test rows": lambda r: r.data.subset_sha256,
    "token ids of the training rows": lambda r: r.data.encoded_sha256,
    "rows in each split": lambda r: r.data.rows,
    "classes": lambda r: r.data.labels,
    "pretrained model": lambda r: r.parameters["model"],
    "max_length": lambda r: r.parameters["encode"],
    "training settings": lambda r: r.parameters["train"],
    "optimizer steps": lambda r: r.data.steps,
    "tokens trained on": lambda r: r.data.tokens,
    "lengths that batches are padded to": lambda r: r.data.padded_lengths,
    "optimizer": lambda r: r.execution.optimizer,
    "attention": lambda r: r.execution.attention,
    "replay as CUDA graphs": lambda r: r.execution.captured_steps > 0,
    "device": lambda r: r.device.type,
    "name of the device": lambda r: r.device.name,
    "driver": lambda r: r.device.driver,
    "precision": lambda r: r.device.precision,
    "CPU threads": lambda r: r.device.threads,
    "library versions": lambda r: r.versions,
}
# The same in the runs of one seed.
IDENTICAL_BY_SEED: dict[str, Callable[[RunRecord], Any]] = {
    "order of the training rows": lambda r: r.data.order_sha256,
    "first weights of the head": lambda r: r.head_sha256,
}
# What a method is: its own block of the parameters.
BY_DESIGN = "method"


def check(runs: Runs) -> None:
    """Refuse to compare runs that differ in what they should share.

    Raises:
        UserError: names the field, the two runs and their values.
    """
    records = [run.record for of_method in runs.values() for run in of_method]
    for record in records[1:]:
        _same(records[0], record, IDENTICAL)
    firsts: dict[int, RunRecord] = {}
    for record in records:
        _same(firsts.setdefault(record.seed, record), record, IDENTICAL_BY_SEED)


def _same(
    one: RunRecord, other: RunRecord, fields: Mapping[str, Callable[[RunRecord], Any]]
) -> None:
    for name, read in fields.items():
        ours, theirs = read(one), read(other)
        if ours != theirs:
            ours, theirs = _difference(ours, theirs)
            raise UserError(
                f"the runs differ in: {name}: {_run(one)} has {ours}, {_run(other)} has {theirs}; "
                f"{_remedy(one, other)}"
            )


def _remedy(one: RunRecord, other: RunRecord) -> str:
    """Return how to make two runs alike.

    A method that calls PEFT after each step cannot be captured, however often it trains.
    """
    if bool(one.execution.captured_steps) != bool(other.execution.captured_steps):
        return "set train.cuda_graphs to 'off', so that all methods train alike"
    return (
        f"train both alike: `dvc repro --force train@{one.method}-{one.seed} "
        f"train@{other.method}-{other.seed}`"
    )


def _difference(ours: Any, theirs: Any) -> tuple[str, str]:
    """Return what differs between two values, entry by entry for mappings."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [k for k in dict.fromkeys([*ours, *theirs]) if ours.get(k) != theirs.get(k)]
        return _pairs(ours, keys), _pairs(theirs, keys)
    return str(ours)[:80], str(theirs)[:80]


def _pairs(values: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key} {values.get(key)}" for key in keys)


def _run(record: RunRecord) -> str:
    return f"{record.method} with seed {record.seed}"


def manifest(runs: Runs) -> dict[str, Any]:
    """Return what all runs share, and each method's own block.

    Call `check` first: the shared values are read from the first run.
    """
    first = next(iter(runs.values()))[0].record
    busy = sorted(
        {r.record.device.busy for of in runs.values() for r in of if r.record.device.busy}
    )
    return {
        "identical": {name: read(first) for name, read in IDENTICAL.items()},
        "identical_by_seed": {
            name: {str(run.record.seed): read(run.record) for run in next(iter(runs.values()))}
            for name, read in IDENTICAL_BY_SEED.items()
        },
        "gradient_checkpointing": False,
        # Not an empty list: `dvc plots` looks for records in every list of the file.
        "other_use_of_the_gpu": busy or None,
        "by_design": {
            name: {
                key: value
                for key, value in of_method[0].record.parameters[BY_DESIGN].items()
                if value is not None
            }
            for name, of_method in runs.items()
        },
    }

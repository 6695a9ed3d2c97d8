"""What is identical across the methods, what differs by design, and proof of both.

A comparison is worth only what its runs have in common. Whatever is not listed under `BY_DESIGN`
must be the same in every run, or the comparison is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairtune.analysis.quiet import is_mixed, shared
from fairtune.core.errors import UserError
from fairtune.core.shortage import MEMORY_WORDS
from fairtune.runs.record import RunRecord, Runs

# Libraries that have done their work before a training starts; what they made is hashed.
BEFORE = ("datasets", "dvc", "tokenizers")
REPLAY, REPLAYED = "replay as CUDA graphs", "steps replayed as CUDA graphs"
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
    "optimizer": lambda r: r.execution.optimizer,
    "attention": lambda r: r.execution.attention,
    REPLAY: lambda r: r.execution.captured_steps > 0,
    "device": lambda r: r.device.type,
    "name of the device": lambda r: r.device.name,
    "driver": lambda r: r.device.driver,
    "precision": lambda r: r.device.precision,
    # A GPU's host only feeds it, and hosts with the same GPU may have other processors.
    "CPU threads": lambda r: None if r.device.type == "cuda" else r.device.threads,
    "library versions": lambda r: {k: v for k, v in r.versions.items() if k not in BEFORE},
}
OF_THE_DEVICE = ("name of the device", "driver", "CPU threads")
"""What may differ where devices of several kinds are allowed: type, precision and kernels may not,
as scores would differ by them."""
# The same in the runs of one seed: each seed has batches of its own, and so their lengths.
IDENTICAL_BY_SEED: dict[str, Callable[[RunRecord], Any]] = {
    "order of the training rows": lambda r: r.data.order_sha256,
    "first weights of the head": lambda r: r.head_sha256,
    "lengths that batches are padded to": lambda r: r.data.padded_lengths,
    "tokens with padding": lambda r: r.data.padded_tokens,
    REPLAYED: lambda r: r.execution.captured_steps,
}
# What a method is: its own block of the parameters.
BY_DESIGN = "method"


def check(runs: Runs) -> None:
    """Refuse to compare runs that differ in what they should share.

    Runs that `quiet.set_apart` marked may be of several devices.

    Raises:
        UserError: names the field, the two runs and their values.
    """
    fields = identical(mixed=is_mixed(runs))
    records = [run.record for of_method in runs.values() for run in of_method]
    for record in records[1:]:
        _same(records[0], record, fields)
    firsts: dict[int, RunRecord] = {}
    for record in records:
        _same(firsts.setdefault(record.seed, record), record, IDENTICAL_BY_SEED)


def identical(*, mixed: bool) -> dict[str, Callable[[RunRecord], Any]]:
    """Return what is the same in every run of a study; fewer where devices may be of more kinds."""
    free = OF_THE_DEVICE if mixed else ()
    return {name: read for name, read in IDENTICAL.items() if name not in free}


def _same(
    one: RunRecord, other: RunRecord, fields: Mapping[str, Callable[[RunRecord], Any]]
) -> None:
    for name, read in fields.items():
        ours, theirs = read(one), read(other)
        if ours != theirs:
            ours, theirs = _difference(ours, theirs)
            raise UserError(
                f"the runs differ in: {name}: {_run(one)} has {ours}, {_run(other)} has {theirs}; "
                f"{_remedy(name, one, other)}"
            )


def _remedy(name: str, one: RunRecord, other: RunRecord) -> str:
    """Return how to make two runs alike that differ in the field of this name."""
    if name in (REPLAY, REPLAYED):
        return _remedy_of_eager(min(one, other, key=lambda r: r.execution.captured_steps))
    if name in OF_THE_DEVICE:
        return (
            "train all on devices of one kind, or set compare.allow_mixed_devices to true, by "
            "which no times and no memory are compared"
        )
    return (
        f"train both alike: `dvc repro --force train@{one.method}-{one.seed} "
        f"train@{other.method}-{other.seed}`"
    )


def _remedy_of_eager(record: RunRecord) -> str:
    """Return what to do about a run that replayed fewer steps than another.

    A method that calls PEFT after each step cannot be captured, however often it trains; one whose
    graphs found no memory can be, where there is more of it.
    """
    off = "set train.cuda_graphs to 'off', so that all methods train alike"
    note = record.execution.note.lower()
    if not any(words in note for words in MEMORY_WORDS):
        return off
    lack = f"the graphs of {_run(record)} found no memory"
    if record.device.busy:
        stage = f"train@{record.method}-{record.seed}"
        return f"{lack} while others used the GPU: train it alone, `dvc repro --force {stage}`"
    return f"{lack}: lower train.batch_size or encode.max_length, or {off}"


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
    mixed = is_mixed(runs)
    return {
        "identical": {name: read(first) for name, read in identical(mixed=mixed).items()},
        "identical_by_seed": {
            name: {str(run.record.seed): read(run.record) for run in next(iter(runs.values()))}
            for name, read in IDENTICAL_BY_SEED.items()
        },
        "gradient_checkpointing": False,
        "other_use_of_the_gpu": shared(runs, apart=False) or None,
        "mixed_devices": _devices(runs) if mixed else None,
        # No empty list: `dvc plots` looks for records in every list of the file.
        "by_design": {
            name: {
                key: value
                for key, value in of_method[0].record.parameters[BY_DESIGN].items()
                if value is not None and value != []
            }
            for name, of_method in runs.items()
        },
    }


def _devices(runs: Runs) -> dict[str, dict[str, str]]:
    """Return the name of the device of each run: method -> seed -> device."""
    return {
        method: {str(run.record.seed): run.record.device.name for run in of_method}
        for method, of_method in runs.items()
    }

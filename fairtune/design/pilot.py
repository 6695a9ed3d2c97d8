"""The runs at hand as a pilot: what they say of the same study with more seeds or rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.core.paths import RECORD, run_folder
from fairtune.runs.record import Run, RunRecord, Runs
from fairtune.runs.search import read_search
from fairtune.runs.store import read_runs
from fairtune.training.promise import SECONDS_OF_A_STAGE


def seeds_at_hand(study: Params) -> list[int]:
    """Return the seeds of params.yaml with which a run of every method is at hand."""
    return [
        seed
        for seed in study.seeds
        if all((run_folder(name, seed) / RECORD).is_file() for name in study.methods)
    ]


def at_hand(study: Params) -> dict[str, list[Run]] | None:
    """Return the runs of the study: method -> one a seed; None where no seed has all methods.

    Raises:
        UserError: a run is not what this version writes, or was made with other parameters.
    """
    seeds = seeds_at_hand(study)
    if not seeds:
        return None
    runs = read_runs(list(study.methods), seeds)
    for name, of_method in runs.items():
        for run in of_method:
            key = _changed(run.record, study)
            if key:
                raise UserError(
                    f"runs/{name}/{run.record.seed}: made with another {key} than params.yaml has; "
                    "run `dvc repro` first"
                )
    return runs


def _changed(record: RunRecord, study: Params) -> str | None:
    """Return the first key of params.yaml that is not what a run was made with."""
    sections: dict[str, Mapping[str, Any]] = {
        "model": study.model.model_dump(),
        "encode": study.encode.model_dump(),
        "train": study.train.model_dump(),
        f"methods.{record.method}": study.method(record.method).model_dump(),
    }
    for section, now in sections.items():
        used = record.parameters.get(section if "." not in section else "method", {})
        for key in now:
            # A key that the record does not have is of a later version, with its default.
            if key in used and used[key] != now[key] and not _found(record, study, key):
                return f"{section}.{key}"
    rows = study.subset.model_dump()
    return next((f"subset.{key}" for key, many in record.data.rows.items() if rows[key] != many),
                None)  # fmt: skip


def _found(record: RunRecord, study: Params, key: str) -> bool:
    """Return whether a run's value is what the search that params.yaml asks for has found."""
    asked = study.method(record.method).searched
    if key != "learning_rate" or asked is None:
        return False
    search = read_search(record.method)
    return (
        search is not None
        and search.asked == asked.search
        and search.learning_rate == record.parameters["method"][key]
    )


def training_seconds(record: RunRecord, *, test_rows: float = 1.0) -> float:
    """Return the seconds that a training like this takes from the start of its stage to its end.

    Args:
        record: of a run.
        test_rows: times its test rows.
    """
    times = record.times
    return (
        SECONDS_OF_A_STAGE
        + times.load_seconds
        + (times.warm_up_seconds or 0.0)
        + times.train_seconds
        + times.validation_seconds
        + times.test_seconds * test_rows
        + times.save_seconds
    )


def seconds_by_method(runs: Runs, *, test_rows: float = 1.0) -> dict[str, float]:
    """Return the seconds of a training of each method, mean over its runs.

    Args:
        runs: method -> one run a seed.
        test_rows: times their test rows.
    """
    return {
        name: _mean([training_seconds(run.record, test_rows=test_rows) for run in of_method])
        for name, of_method in runs.items()
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

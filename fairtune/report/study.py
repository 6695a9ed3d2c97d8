"""What the report and the notebook speak from, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairtune.analysis.costs import Cost, costs, decided_by
from fairtune.analysis.quiet import mean, set_apart
from fairtune.charts.records import Record
from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.method import Method
from fairtune.core.params import Params
from fairtune.report.families import FACTORS, Factor, read_factors
from fairtune.report.latencies import Serving, read_serving
from fairtune.report.results import Results, read_results
from fairtune.runs.record import RunRecord
from fairtune.runs.store import read_runs

SWEEP = paths.METRICS / "scaling.json"


@dataclass(frozen=True, kw_only=True)
class Evidence(Results):
    """All that a report is written from."""

    study: Params
    records: Mapping[str, Sequence[RunRecord]]
    """Method -> the record of each seed."""
    subset: Mapping[str, Any]
    encoded: Mapping[str, Any]
    tables: Mapping[str, list[Record]]
    """The records behind the charts, by the chart's name."""
    scaling: Mapping[str, Any] | None = None
    """What `python -m fairtune.scaling` measured, where it was run for this study."""
    other_sweep: bool = False
    """Whether a sweep lies there that was run for other settings, and is left out."""
    serving: Serving | None = None
    """What `python -m fairtune.latency` measured, where it was run."""
    factors: Sequence[Factor] = ()
    """How much slower a plain Trainer is, as far as that was measured."""

    @property
    def first(self) -> RunRecord:
        """One run, for what all runs share."""
        return next(iter(self.records.values()))[0]

    @property
    def devices(self) -> list[str]:
        """The names of the devices that the runs were of: one, unless several are allowed."""
        return list(dict.fromkeys(one.device.name for of in self.records.values() for one in of))

    def block(self, name: str) -> Method:
        """Return a method's block of the parameters."""
        return self.study.methods[name]

    def learning_rate(self, name: str) -> float:
        """Return the peak learning rate that a method was trained with, given or chosen."""
        return float(self.records[name][0].parameters["method"]["learning_rate"])

    @property
    def baseline(self) -> str:
        """The method that the others are held against: one that trains the whole model."""
        whole = [name for name in self.names if self.block(name).adapter is None]
        return (whole or self.names)[0]

    @property
    def costs(self) -> dict[str, Cost]:
        """The table of costs by key; one that some method with costs lacks is left out."""
        due = set(self.names) - set(self.uncosted)
        table = costs(self.memory)
        return {key: cost for key, cost in table.items() if due <= set(self._means(cost))}

    def spent(self, cost: str) -> dict[str, float]:
        """Return what each method costs, by one of `costs`; those without a figure are left out."""
        return self._means(self.costs[cost])

    def _means(self, cost: Cost) -> dict[str, float]:
        """Return a cost by method: as the metrics have it, and else as mean of the records."""
        if cost.metric is not None:
            return self.values(cost.metric)
        found = {name: self.mean(cost.field, name, digits=2) for name in self.records}
        return {name: value for name, value in found.items() if value is not None}

    def mean(self, path: str, name: str, *, digits: int = 4) -> float | None:
        """Return a figure of the records, such as `times.step_median_ms`, as mean over runs."""
        return mean(self.records[name], path, digits=digits)


def read_sweep() -> dict[str, Any]:
    """Read what `make scaling` measured.

    Raises:
        UserError: the file is not a JSON object.
    """
    try:
        return dict(json.loads(SWEEP.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{SWEEP}: not valid JSON; run `make scaling`, or delete it") from None


def read_records(study: Params) -> dict[str, list[RunRecord]]:
    """Read the record of each run, by method; where devices may differ, marked as without costs.

    Raises:
        UserError: a run is missing or is not right.
    """
    runs = set_apart(read_runs(list(study.methods), study.seeds), study.compare)
    return {name: [run.record for run in of_method] for name, of_method in runs.items()}


def is_of(sweep: Mapping[str, Any], study: Params) -> bool:
    """Return whether a sweep was run with the model and the methods of a study."""
    return bool(sweep.get("of") == decided_by(study))


def read(study: Params, *, factors: Path = FACTORS) -> Evidence:
    """Read all that the pipeline wrote.

    Args:
        study: the parameters.
        factors: how much slower a plain Trainer is, as the benchmark wrote it.

    Raises:
        UserError: a file is missing or belongs to another study.
    """
    results = read_results(study)
    sweep = read_sweep() if SWEEP.exists() else None
    own_sweep = sweep is not None and is_of(sweep, study)
    files = sorted(paths.PLOTS.glob("*.json"))
    tables = {path.stem: read_json(path, made_by="compare") for path in files}
    if "accuracy" not in tables:
        raise UserError(f"{paths.PLOTS}/accuracy.json: not found; run `dvc repro compare`")
    return Evidence(
        metrics=results.metrics,
        comparison=results.comparison,
        study=study,
        records=read_records(study),
        subset=read_json(paths.SUBSET / paths.MANIFEST, made_by="subset"),
        encoded=read_json(paths.ENCODED / paths.MANIFEST, made_by="encode"),
        tables=tables | {"differences": results.comparison["differences"]},
        scaling=sweep if own_sweep else None,
        other_sweep=sweep is not None and not own_sweep,
        serving=read_serving(),
        factors=read_factors(factors),
    )

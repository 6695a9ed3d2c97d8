"""What the report, the notebook, the advisor and the README speak from, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fairtune.analysis.costs import Cost, MemoryCounter, costs, memory_counter, weight
from fairtune.analysis.quiet import mean
from fairtune.analysis.verdicts import Verdict
from fairtune.charts.records import Record
from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.method import Method
from fairtune.core.params import Params
from fairtune.report.families import Factor, read_factors
from fairtune.runs.record import RunRecord
from fairtune.runs.store import read_run

Metrics = Mapping[str, Any]
SWEEP = paths.METRICS / "scaling.json"
VERDICTS = paths.METRICS / "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The verdict on two methods; shares between 0 and 1, first minus second."""

    first: str
    second: str
    verdict: Verdict
    winner: str | None
    """The better one, where the study can tell."""
    loser: str | None
    """The other one."""
    difference: float
    low: float
    high: float
    p_holm: float
    detectable: float
    significant: bool


@dataclass(frozen=True, kw_only=True)
class Results:
    """The metrics and the verdicts: all that advice needs."""

    metrics: Mapping[str, Metrics]
    comparison: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """The methods, in the study's order."""
        return list(self.metrics)

    @property
    def seeds(self) -> int:
        """Trainings of each method."""
        return int(self.comparison["seeds"])

    @property
    def memory(self) -> MemoryCounter:
        """The memory that is shown: that by which every method was measured."""
        return memory_counter(self.measured)

    @property
    def shared(self) -> dict[str, list[int]]:
        """Method -> the seeds whose run shared the GPU: they count for no cost."""
        found = self.comparison["fairness"]["other_use_of_the_gpu"] or {}
        return {name: [int(seed) for seed in seeds] for name, seeds in found.items()}

    @property
    def uncosted(self) -> list[str]:
        """The methods without costs: every run of theirs shared the GPU."""
        return [name for name, seeds in self.shared.items() if len(seeds) == self.seeds]

    def measured(self, key: str) -> bool:
        """Return whether every method that has costs has this metric."""
        return all(
            self.metrics[n].get(key) is not None for n in self.names if n not in self.uncosted
        )

    def weight(self, name: str) -> float | None:
        """Return a method's time x memory, which the recommendation weighs, if it has both."""
        return weight(self.metrics[name], self.memory)

    def values(self, key: str) -> dict[str, float]:
        """Return one metric by method, where it was measured."""
        found = {name: of_method.get(key) for name, of_method in self.metrics.items()}
        return {name: float(value) for name, value in found.items() if value is not None}

    @property
    def pairs(self) -> list[Pair]:
        """The verdicts on all pairs, in the study's order."""
        return [self.pair(first, second) for first, second in combinations(self.names, 2)]

    def pair(self, first: str, second: str) -> Pair:
        """Return the verdict on two methods, from the first one's point of view."""
        known = self.comparison["pairs"]
        turned = f"{first}_vs_{second}" not in known
        key = f"{second}_vs_{first}" if turned else f"{first}_vs_{second}"
        if key not in known:
            raise UserError(f"{VERDICTS}: another study's; run `dvc repro compare`")
        found, sign = known[key], -1 if turned else 1
        if "winner" not in found:
            raise UserError(f"{VERDICTS}: of an older version; run `dvc repro compare`")
        low, high = sorted((sign * found["low"], sign * found["high"]))
        return Pair(
            first=first,
            second=second,
            verdict=found["verdict"],
            winner=found["winner"],
            loser=found["loser"],
            difference=sign * found["difference"],
            low=low,
            high=high,
            p_holm=found["p_holm"],
            detectable=found["detectable"],
            significant=found["significant"],
        )

    def rank(self, name: str) -> int | None:
        """Return the rank by accuracy that the evidence supports, or None."""
        place = self.comparison["methods"][name]
        alone = len(self.names) == 1 or place["best_rank"] != place["worst_rank"]
        return None if alone else int(place["best_rank"])

    @property
    def unbeaten(self) -> list[str]:
        """The methods that no other is better than."""
        beaten = {pair.loser for pair in self.pairs}
        return [name for name in self.names if name not in beaten]


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
    """What `python -m fairtune.scaling` measured, where it was run."""
    factors: Sequence[Factor] = ()
    """How much slower a plain Trainer is, as far as that was measured."""

    @property
    def first(self) -> RunRecord:
        """One run, for what all runs share."""
        return next(iter(self.records.values()))[0]

    def block(self, name: str) -> Method:
        """Return a method's block of the parameters."""
        return self.study.methods[name]

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


def read_results(study: Params) -> Results:
    """Read the metrics and the verdicts.

    Raises:
        UserError: a file is missing or belongs to another study.
    """
    comparison = read_json(VERDICTS, made_by="compare")
    if set(comparison.get("methods", {})) != set(study.methods):
        raise UserError(f"{VERDICTS}: other methods than params.yaml; run `dvc repro`")
    if isinstance(comparison["fairness"]["other_use_of_the_gpu"], list):
        raise UserError(f"{VERDICTS}: of an older version; run `dvc repro compare`")
    return Results(
        metrics={
            name: read_json(paths.METRICS / f"{name}.json", made_by=f"score@{name}")
            for name in study.methods
        },
        comparison=comparison,
    )


def read_sweep() -> dict[str, Any]:
    """Read what `make scaling` measured.

    Raises:
        UserError: the file is not a JSON object.
    """
    try:
        return dict(json.loads(SWEEP.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{SWEEP}: not valid JSON; run `make scaling`, or delete it") from None


def read(study: Params) -> Evidence:
    """Read all that the pipeline wrote.

    Raises:
        UserError: a file is missing or belongs to another study.
    """
    results = read_results(study)
    files = sorted(paths.PLOTS.glob("*.json"))
    tables = {path.stem: read_json(path, made_by="compare") for path in files}
    if "accuracy" not in tables:
        raise UserError(f"{paths.PLOTS}/accuracy.json: not found; run `dvc repro compare`")
    return Evidence(
        metrics=results.metrics,
        comparison=results.comparison,
        study=study,
        records={
            name: [read_run(name, seed).record for seed in study.seeds] for name in study.methods
        },
        subset=read_json(paths.SUBSET / paths.MANIFEST, made_by="subset"),
        encoded=read_json(paths.ENCODED / paths.MANIFEST, made_by="encode"),
        tables=tables | {"differences": results.comparison["differences"]},
        scaling=read_sweep() if SWEEP.exists() else None,
        factors=read_factors(),
    )

"""The metrics and the verdicts of a study, read once: all that advice needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fairtune.analysis.choice import Choice, choose
from fairtune.analysis.costs import MemoryCounter, memory_counter, weight
from fairtune.analysis.scores import SCORES
from fairtune.analysis.verdicts import Verdict
from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.params import Params

Metrics = Mapping[str, Any]
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
    """Ends of the 95% interval, which holds for all pairs together."""
    equivalence_low: float
    equivalence_high: float
    """Ends of the 90% interval, which equivalence is read from."""
    p: float
    """Of no difference, adjusted over all pairs."""
    detectable: float
    significant: bool
    behind: float
    """p of the hypothesis that the second is better by the margin or more."""
    seeds: int
    """Trainings of each method that the verdict was read from."""


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
    def about_methods(self) -> bool:
        """Whether verdicts are on methods; with few seeds they are on these trained models."""
        return bool(self.comparison["about"] == "methods")

    @property
    def metric(self) -> str:
        """The key of the score that the study decides by."""
        return str(self.comparison["metric"])

    @property
    def score_name(self) -> str:
        """What prose calls that score."""
        return SCORES[self.metric].name

    @property
    def scores_name(self) -> str:
        """The same in the plural."""
        return SCORES[self.metric].plural

    @property
    def search(self) -> Mapping[str, Any] | None:
        """What the searches of learning rates found; None where every rate was given."""
        # Comparisons from before there were searches have no such key.
        found: Mapping[str, Any] | None = self.comparison.get("search")
        return found

    @property
    def search_score(self) -> str:
        """What prose calls the score that the searches went by."""
        return SCORES[self.search["metric"] if self.search else self.metric].name

    def score(self, name: str) -> float:
        """Return a method's score, as mean over seeds."""
        return float(self.metrics[name][self.metric])

    def half_width(self, name: str) -> float:
        """Return the half-width of the score's 95% interval."""
        return float(self.metrics[name][f"{self.metric}_ci95"])

    @property
    def failed(self) -> dict[str, list[int]]:
        """Method -> the seeds of its trainings that learned nothing."""
        return dict(self.comparison["unlearned"])

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
    def mixed(self) -> bool:
        """Whether the study allows devices of several kinds, so that no run has costs."""
        return bool(self.comparison["fairness"].get("mixed_devices"))

    @property
    def uncosted(self) -> list[str]:
        """The methods without costs: every run of theirs shared the GPU, or devices differ."""
        if self.mixed:
            return self.names
        return [name for name, seeds in self.shared.items() if len(seeds) == self.seeds]

    def measured(self, key: str) -> bool:
        """Return whether every method that has costs has this metric."""
        if self.mixed:
            on_gpu = self.comparison["fairness"]["identical"]["device"] == "cuda"
            return on_gpu or key.startswith("host")
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
        low, high = sorted((sign * found["low"], sign * found["high"]))
        inner = sorted((sign * found["equivalence_low"], sign * found["equivalence_high"]))
        return Pair(
            first=first,
            second=second,
            verdict=found["verdict"],
            winner=found["winner"],
            loser=found["loser"],
            difference=sign * found["difference"],
            low=low,
            high=high,
            equivalence_low=inner[0],
            equivalence_high=inner[1],
            p=found["p"],
            detectable=found["detectable"],
            significant=found["significant"],
            behind=found["second_behind" if turned else "first_behind"],
            seeds=found["seeds"],
        )

    def rank(self, name: str) -> int | None:
        """Return the rank by score that the evidence supports, or None."""
        place = self.comparison["methods"][name]
        alone = len(self.names) == 1 or place["best_rank"] != place["worst_rank"]
        return None if alone else int(place["best_rank"])

    def choice(self, candidates: Sequence[str] | None = None) -> Choice:
        """Return which method to use.

        Args:
            candidates: those that may be chosen; None takes all.
        """
        return choose(
            self.names if candidates is None else candidates,
            behind=lambda one, rival: self.pair(one, rival).behind,
            scores={name: self.score(name) for name in self.names},
            weights={name: self.weight(name) for name in self.names},
            failed=list(self.failed),
            provable=self.about_methods,
            plausible=self.comparison["plausible"],
            alpha=self.comparison["level"],
        )

    @property
    def unbeaten(self) -> list[str]:
        """The methods that no other is better than."""
        beaten = {pair.loser for pair in self.pairs}
        return [name for name in self.names if name not in beaten]


def read_results(study: Params) -> Results:
    """Read the metrics and the verdicts.

    Raises:
        UserError: a file is missing or belongs to another study.
    """
    comparison = read_json(VERDICTS, made_by="compare")
    if set(comparison.get("methods", {})) != set(study.methods):
        raise UserError(f"{VERDICTS}: other methods than params.yaml; run `dvc repro`")
    # Before there was a choice in the file, what shared the GPU was a list, or nothing.
    shared = comparison.get("fairness", {}).get("other_use_of_the_gpu")
    if "choice" not in comparison or isinstance(shared, list):
        raise UserError(f"{VERDICTS}: of an older version; run `dvc repro compare`")
    return Results(
        metrics={
            name: read_json(paths.METRICS / f"{name}.json", made_by=f"score@{name}")
            for name in study.methods
        },
        comparison=comparison,
    )

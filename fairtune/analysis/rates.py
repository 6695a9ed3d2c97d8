"""Choose a method's learning rate from its trials: the rule that all methods share.

Among the rates whose mean score on the validation rows is within one standard error of the best the
lowest wins (the one-standard-error rule: Breiman, Friedman, Olshen and Stone 1984, Classification
and Regression Trees, sec. 3.4.3), or by the rule `lowest_loss` that of the lowest validation loss.
A trial that collapsed counts with the score that it has. A few hundred validation rows may not show
that the lowest has not learned enough; the loss, which is finer, then says so
(`RateChoice.lower_loss`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fairtune.analysis.failures import LEARNED_ALPHA, learned_p_of
from fairtune.analysis.scores import SCORES
from fairtune.core.sections import RateRule
from fairtune.runs.search import Trial


@dataclass(frozen=True, kw_only=True)
class RateScore:
    """What one rate's trials came to."""

    rate: float
    scores: list[float]
    """Of each seed, in the order of the seeds."""
    collapsed: list[int]
    """Seeds of the trials that learned nothing that shows."""
    losses: list[float]
    """Validation loss of each seed after the last epoch, in nats; infinite where there is none."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.scores))

    @property
    def loss(self) -> float:
        """Mean validation loss over the seeds, in nats."""
        return float(np.mean(self.losses))


@dataclass(frozen=True, kw_only=True)
class RateChoice:
    """The rate that the rule takes, and what it was taken from."""

    tried: list[RateScore]
    """By rate, the lowest first."""
    best: RateScore
    standard_error: float
    """Of a rate's mean score."""
    chosen: RateScore

    @property
    def edge(self) -> str | None:
        """Where no rate within is as good as the lowest or the highest: `low`, `high`, or None."""
        inner = [one.mean for one in self.tried[1:-1]]
        if inner and max(inner) >= self.best.mean:
            return None
        return "low" if self.best is self.tried[0] else "high"

    @property
    def learned(self) -> bool:
        """Whether any trial learned anything."""
        return any(len(one.collapsed) < len(one.scores) for one in self.tried)

    @property
    def within(self) -> list[RateScore]:
        """The rates within one standard error of the best."""
        return [one for one in self.tried if self.best.mean - one.mean <= self.standard_error]

    @property
    def lower_loss(self) -> RateScore | None:
        """Of the rates that count as equal that of the lowest loss, where each seed says so.

        None where it has no lower loss than the chosen with every seed. Where it has, the chosen
        rate may be too low for the steps that there are.
        """
        least = min(self.within, key=lambda one: one.loss)
        pairs = zip(least.losses, self.chosen.losses, strict=True)
        return least if all(other < ours for other, ours in pairs) else None


def score(trial: Trial, metric: str) -> float:
    """Return a trial's score on the validation rows after its last epoch."""
    table = np.asarray(trial.confusion, dtype=np.int64)
    found = SCORES[metric].value(np.diagonal(table), table.sum(axis=0), table.sum(axis=1))
    return float(found)


def _last_loss(trial: Trial) -> float:
    """Return the validation loss after the last epoch; infinite where there is none."""
    last = trial.loss[-1] if trial.loss else None
    return math.inf if last is None else last


def collapsed(trial: Trial) -> bool:
    """Return whether a trial learned nothing that shows on the validation rows."""
    return learned_p_of(np.asarray(trial.confusion, dtype=np.int64)) >= LEARNED_ALPHA


def standard_error(tried: Sequence[RateScore]) -> float:
    """Return the standard error of a rate's mean score over its seeds.

    The spread of two or three seeds alone says little, so that all rates are asked: the median of
    their variances, over what that median is of one variance of normal scores (the median of
    chi-square over its degrees of freedom). A mean would go by rates that train too slowly or fall
    apart, whose seeds lie far apart and say nothing of those near the best. Rates with a collapsed
    trial are left out where others are left. The choice of the validation rows, which all rates
    share, is not in it.

    Args:
        tried: at least one rate, each with at least two seeds.
    """
    sound = [one.scores for one in tried if not one.collapsed] or [one.scores for one in tried]
    seeds = len(sound[0])
    usual = float(stats.chi2.median(seeds - 1)) / (seeds - 1)
    middle = float(np.median([np.var(scores, ddof=1) for scores in sound]))
    return math.sqrt(middle / usual / seeds)


def summed(trials: Sequence[Trial], metric: str) -> list[RateScore]:
    """Return what each rate's trials came to, the lowest rate first.

    Args:
        trials: of one method, each rate with the same seeds.
        metric: the score to go by.

    Raises:
        ValueError: there is no trial, or the rates have not all the same seeds.
    """
    by_rate: dict[float, dict[int, Trial]] = {}
    for trial in trials:
        by_rate.setdefault(trial.rate, {})[trial.seed] = trial
    if not by_rate or len({frozenset(seeds) for seeds in by_rate.values()}) > 1:
        raise ValueError("each rate needs a trial with each seed")
    return [
        RateScore(
            rate=rate,
            scores=[score(by_rate[rate][seed], metric) for seed in sorted(by_rate[rate])],
            collapsed=[seed for seed in sorted(by_rate[rate]) if collapsed(by_rate[rate][seed])],
            losses=[_last_loss(by_rate[rate][seed]) for seed in sorted(by_rate[rate])],
        )
        for rate in sorted(by_rate)
    ]


def choose(trials: Sequence[Trial], metric: str, rule: RateRule) -> RateChoice:
    """Return the rate that the rule takes.

    Args:
        trials: of one method, each rate with the same seeds.
        metric: the score to go by.
        rule: of the rates within one standard error of the best `lowest` takes the lowest,
            `lowest_loss` that whose mean validation loss is lowest, of equal ones the lowest.

    Raises:
        ValueError: there is no trial, or the rates have not all the same seeds.
    """
    tried = summed(trials, metric)
    # Of equally good rates the lowest.
    best = max(tried, key=lambda one: (round(one.mean, 9), -one.rate))
    error = standard_error(tried)
    within = [one for one in tried if best.mean - one.mean <= error]
    chosen = within[0] if rule == "lowest" else min(within, key=lambda one: one.loss)
    return RateChoice(tried=tried, best=best, standard_error=error, chosen=chosen)

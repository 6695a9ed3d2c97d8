"""What a study found, as its statistics need it: an outcome for each method, seed and unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
import numpy.typing as npt

from fairtune.analysis.crossed import FEWEST_SEEDS, FloatArray, Outcomes
from fairtune.analysis.scores import SCORES, IntArray, Score, by_units, predicted
from fairtune.core.errors import UserError
from fairtune.runs.record import Runs

RESAMPLES = 10_000
CHUNK = 500
"""Resamples at a time: of 2,000 rows they take 4 MB."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """All methods on the same units, with the same number of seeds.

    A unit is a test row, or a group of rows that were drawn together.
    """

    outcomes: Mapping[str, Outcomes]
    """Method -> (seeds, units); the mean over units is the score."""
    score: Score = SCORES["accuracy"]
    rows: int
    """Test rows."""
    groups: int | None = None
    """How many groups were drawn; None where each row is one of its own."""
    correct: Mapping[str, npt.NDArray[np.bool_]]
    """Method -> which rows are right, (seeds, rows)."""
    predictions: Mapping[str, IntArray] | None = None
    """Method -> predicted classes, (seeds, rows): what scores other than accuracy are made of."""
    labels: IntArray | None = None
    """True classes, (rows,)."""
    group_of: IntArray | None = None
    """The number of each row's group, (rows,)."""
    classes: int = 2
    fewest: int = FEWEST_SEEDS
    """With fewer seeds all speaks of these trained models alone."""

    @property
    def names(self) -> list[str]:
        """The methods, in the study's order."""
        return list(self.outcomes)

    @property
    def seeds(self) -> int:
        """Trainings of each method."""
        return len(next(iter(self.outcomes.values())))

    @property
    def units(self) -> int:
        """What was drawn: rows, or groups of them."""
        return int(next(iter(self.outcomes.values())).shape[1])

    @property
    def covers_seeds(self) -> bool:
        """Whether errors cover other seeds, so that verdicts are on methods."""
        return self.seeds >= max(self.fewest, 2)

    @property
    def grain(self) -> float:
        """What one row more that is right adds to its unit's figure."""
        return self.units / self.rows

    @property
    def row_degrees(self) -> float:
        """Degrees of freedom of a variance over units: few only where groups were drawn."""
        return inf if self.groups is None else max(self.units - 1, 1)

    @cached_property
    def means(self) -> FloatArray:
        """The outcome of each unit as mean over seeds, (methods, units)."""
        return np.stack([one.mean(axis=0, dtype=np.float64) for one in self.outcomes.values()])

    @cached_property
    def scores(self) -> dict[str, float]:
        """The score of each method, as mean over seeds."""
        return {name: float(one.mean()) for name, one in self.outcomes.items()}

    def first(self, seeds: int) -> Sample:
        """Return what the first so many seeds found."""
        named = self.predictions and {name: one[:seeds] for name, one in self.predictions.items()}
        return replace(
            self,
            outcomes={name: one[:seeds] for name, one in self.outcomes.items()},
            correct={name: one[:seeds] for name, one in self.correct.items()},
            predictions=named,
        )


def sample_of(
    correct: Mapping[str, npt.NDArray[np.bool_]], *, fewest: int = FEWEST_SEEDS
) -> Sample:
    """Return a sample of accuracies.

    Args:
        correct: method -> which rows are right, (seeds, rows).
        fewest: with fewer seeds all speaks of these trained models alone.

    Raises:
        ValueError: there is no method, or an array is not boolean, empty or unlike in shape.
    """
    if not correct:
        raise ValueError("correct is empty: there is nothing to compare")
    shapes = set()
    for one in correct.values():
        check_correct(one)
        shapes.add(one.shape)
    if len(shapes) > 1:
        said = ", ".join(str(shape) for shape in sorted(shapes))
        raise ValueError(f"all methods need the same seeds and rows, not {said}")
    rows = next(iter(correct.values())).shape[1]
    return Sample(outcomes=correct, correct=correct, rows=rows, fewest=fewest)


def check_correct(correct: npt.NDArray[np.bool_]) -> None:
    """Refuse what is not a boolean array of shape (seeds, rows)."""
    if not isinstance(correct, np.ndarray) or correct.dtype != np.bool_:
        raise ValueError("correct must be a boolean numpy array of shape (seeds, rows)")
    if correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"correct must have the shape (seeds, rows), not {correct.shape}")


def sample_of_runs(
    runs: Runs, *, score: Score = SCORES["accuracy"], fewest: int = FEWEST_SEEDS
) -> Sample:
    """Return what a study's runs predicted.

    Args:
        runs: method -> one run a seed.
        score: what the study decides by.
        fewest: with fewer seeds all speaks of these trained models alone.

    Raises:
        UserError: the runs were not tested on the same rows.
    """
    first = next(iter(runs.values()))[0].predictions
    for name, of_method in runs.items():
        if any(run.predictions.row_ids != first.row_ids for run in of_method):
            raise UserError(f"runs/{name}: tested on other rows; run `dvc repro`")
    classes = first.probabilities.shape[1]
    groups = None
    if first.groups is not None:
        groups = np.unique(first.groups, return_inverse=True)[1]
    named = {name: predicted(of_method) for name, of_method in runs.items()}
    return Sample(
        outcomes={
            name: by_units(score.outcomes(first.labels, one, classes), groups)
            for name, one in named.items()
        },
        score=score,
        rows=len(first.labels),
        groups=None if groups is None else int(groups.max()) + 1,
        correct={name: one == first.labels for name, one in named.items()},
        predictions=named,
        labels=first.labels,
        group_of=groups,
        classes=classes,
        fewest=fewest,
    )


def row_shifts(sample: Sample, *, resamples: int = RESAMPLES, seed: int = 0) -> FloatArray:
    """Resampled minus observed score of every method, (resamples, methods).

    The paired bootstrap (Efron and Tibshirani 1993, ch. 8 and 13): units are drawn with
    replacement, the same for all methods and seeds, and each score is computed anew from the rows
    drawn. Units that all methods answer alike are drawn together, as one number.
    """
    observed = np.array(list(sample.scores.values()))
    random = np.random.default_rng(seed)
    if sample.score.key == "accuracy" or sample.predictions is None or sample.labels is None:
        kinds, many = np.unique(sample.means, axis=1, return_counts=True)
        drawn = (draw @ kinds.T for draw in _draws(many, resamples, random))
        return np.asarray(np.concatenate(list(drawn)) / sample.units - observed)
    stacked: IntArray = np.concatenate([sample.labels[None], *sample.predictions.values()])
    if sample.group_of is None:
        stacks, many = np.unique(stacked, axis=1, return_counts=True)
        weights = _draws(many, resamples, random)
    else:
        group_of = sample.group_of
        draws = _draws(np.ones(sample.units, dtype=np.int64), resamples, random)
        weights, stacks = (draw[:, group_of] for draw in draws), stacked
    scored = [_scored(weight, stacks, sample) for weight in weights]
    return np.asarray(np.concatenate(scored) - observed)


def _draws(many: IntArray, resamples: int, random: np.random.Generator) -> Iterator[FloatArray]:
    """Yield how often each kind of unit is drawn, (some resamples, kinds) each."""
    units = int(many.sum())
    for begin in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - begin)
        yield random.multinomial(units, many / units, size=size).astype(np.float64)


def _scored(weights: FloatArray, kinds: IntArray, sample: Sample) -> FloatArray:
    """Return each method's score on weighted rows, as mean over seeds, (resamples, methods)."""
    labels, classes = kinds[0], sample.classes
    true = weights @ np.eye(classes)[labels]
    made = np.empty((len(weights), len(sample.names)))
    for place in range(len(sample.names)):
        of_method = kinds[1 + place * sample.seeds : 1 + (place + 1) * sample.seeds]
        total = np.zeros(len(weights))
        for named in of_method:
            chosen = np.eye(classes)[named]
            right = weights @ (chosen * (named == labels)[:, None])
            total += sample.score.value(right, weights @ chosen, true)
        made[:, place] = total / sample.seeds
    return made

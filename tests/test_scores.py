"""Scores and their outcomes: against counts by hand, scikit-learn's formulas and the bootstrap."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairtune.analysis import comparison
from fairtune.analysis.estimates import score_estimate
from fairtune.analysis.metrics import metrics
from fairtune.analysis.sample import Sample, row_shifts, sample_of_runs
from fairtune.analysis.scores import SCORES, by_units
from fairtune.analysis.verdicts import compare_all
from fairtune.core.params import Compare
from fairtune.runs.record import Run
from tests.reports import evidence_of, make_study
from tests.repositories import ROOT
from tests.studies import make_runs, write_runs

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([[0, 0, 1, 1, 1, 0]])
# By hand: recall 2/3, 1 and 0; F1 4/6, 4/5 and 0; 4 of 6 right, predicted 3, 3 and 0 of 3, 2 and 1:
# R_K = (4 * 6 - (9 + 6 + 0)) / sqrt((36 - 18) (36 - 14)).
BY_HAND = {
    "accuracy": 4 / 6,
    "balanced_accuracy": (2 / 3 + 1 + 0) / 3,
    "macro_f1": (4 / 6 + 4 / 5 + 0) / 3,
    "matthews": 9 / sqrt(18 * 22),
}


@pytest.mark.parametrize("key", SCORES)
def test_a_score_is_what_counts_by_hand_give(key: str) -> None:
    assert SCORES[key].of(LABELS, PREDICTED, 3) == pytest.approx([BY_HAND[key]])
    # A class that occurs nowhere changes nothing.
    assert SCORES[key].of(LABELS, PREDICTED, 5) == pytest.approx([BY_HAND[key]])


@pytest.mark.parametrize("key", SCORES)
def test_outcomes_have_the_score_as_their_mean_and_follow_its_slope(key: str) -> None:
    score, random = SCORES[key], np.random.default_rng(2)
    labels = random.choice(4, 3000, p=[0.6, 0.25, 0.1, 0.05])
    predicted = np.where(random.random(3000) < 0.8, labels, random.integers(0, 4, 3000))[None]
    outcomes = score.outcomes(labels, predicted, 4)
    assert outcomes.mean() == pytest.approx(score.of(labels, predicted, 4)[0])
    # One row more of a kind moves the score by its outcome's distance from it, over the rows.
    for row in (0, 7, 100, 1500):
        more = np.append(labels, labels[row]), np.append(predicted[0], predicted[0, row])[None]
        moved = score.of(*more, 4)[0] - outcomes.mean()
        assert moved * 3001 == pytest.approx(outcomes[0, row] - outcomes.mean(), abs=0.02)


def test_the_outcomes_of_accuracy_are_right_or_wrong() -> None:
    outcomes = SCORES["accuracy"].outcomes(LABELS, PREDICTED, 3)
    assert outcomes == pytest.approx((LABELS == PREDICTED).astype(float))


@pytest.mark.parametrize("named", [0, 1])
def test_naming_one_class_alone_has_a_score_of_guessing(named: int) -> None:
    predicted = np.full((1, 6), named)
    assert SCORES["balanced_accuracy"].of(LABELS, predicted, 3) == pytest.approx([1 / 3])
    assert SCORES["matthews"].of(LABELS, predicted, 3) == pytest.approx([0])
    assert np.isfinite(SCORES["matthews"].outcomes(LABELS, predicted, 3)).all()


def unequal(runs: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """The study with one row in ten of the second class, predictions turned accordingly."""
    made = {}
    for name, of_method in runs.items():
        made[name] = [_unequal(run) for run in of_method]
    return made


def _unequal(run: Run) -> Run:
    said = run.predictions
    labels = np.where(np.arange(len(said.labels)) % 10 == 0, 1, 0)
    turned = np.where((said.labels == labels)[:, None], said.probabilities,
                      said.probabilities[:, ::-1])  # fmt: skip
    return replace(run, predictions=replace(said, labels=labels, probabilities=turned))


@pytest.mark.parametrize("key", SCORES)
def test_errors_of_a_score_are_those_of_the_bootstrap_of_whole_rows(key: str) -> None:
    runs = unequal(make_runs(methods=("full", "lora"), seeds=(1, 2, 3), rows=1500))
    sample = sample_of_runs(runs, score=SCORES[key])
    shifts = row_shifts(sample, resamples=3000)
    assert shifts.shape == (3000, 2)
    by_rows = (sample.means[0] - sample.means[1]).std() / sqrt(1500)
    assert (shifts[:, 0] - shifts[:, 1]).std() == pytest.approx(by_rows, rel=0.08)
    # Drawn by hand, row by row.
    random, said = np.random.default_rng(1), runs["full"][0].predictions
    redrawn = []
    for _ in range(400):
        rows = random.integers(0, 1500, 1500)
        scores = [
            SCORES[key].of(said.labels[rows], run.predictions.predicted[None, rows], 2)[0]
            for run in runs["full"]
        ]
        redrawn.append(np.mean(scores))
    assert np.std(redrawn) == pytest.approx(shifts[:, 0].std(), rel=0.12)


def test_groups_are_drawn_whole() -> None:
    # 60 groups of ten rows that are right or wrong together say as much as 60 rows.
    random = np.random.default_rng(5)
    by_group = random.random((1, 60)) < 0.8
    rows = np.repeat(by_group, 10, axis=1).astype(float)
    groups = np.repeat(np.arange(60), 10)
    units = by_units(rows, groups)
    assert units.shape == (1, 60)
    assert units.mean() == pytest.approx(by_group.mean())
    assert units.var() == pytest.approx(by_group.var())


def clustered(random: np.random.Generator, *, groups: int, size: int) -> Any:
    """Two equal methods; half the variance of a row's difference lies between groups."""
    of_group = np.repeat(np.arange(groups), size)
    shared = random.normal(size=groups)[of_group] + random.normal(size=groups * size)
    right = {}
    for name in ("a", "b"):
        own = random.normal(size=groups)[of_group] + random.normal(size=groups * size)
        right[name] = (1.5 + 0.7 * shared + own > 0)[None]
    return right, of_group


def test_intervals_over_groups_keep_their_level_where_those_over_rows_do_not() -> None:
    random = np.random.default_rng(3)
    alarms, studies = {True: 0, False: 0}, 200
    for _ in range(studies):
        right, of_group = clustered(random, groups=60, size=10)
        for grouped in (True, False):
            sample = Sample(
                outcomes={
                    name: by_units(one.astype(float), of_group if grouped else None)
                    for name, one in right.items()
                },
                rows=600,
                groups=60 if grouped else None,
                correct=right,
            )
            (verdict,) = compare_all(sample, margin=0.001, resamples=400)
            alarms[grouped] += verdict.verdict == "better"
    assert alarms[True] <= 19  # the binomial 99.9% quantile at 5%
    assert alarms[False] >= 25


def test_the_runs_groups_are_what_a_study_counts() -> None:
    runs = make_runs(rows=400, groups=20)
    found = evidence_of(runs)
    assert found.comparison["groups"] == 20
    assert found.comparison["pairs"]["full_vs_lora"]["p_mcnemar"] is None
    alone = sample_of_runs(make_runs(rows=400))
    assert sample_of_runs(runs).scores == pytest.approx(alone.scores)


@pytest.mark.parametrize("key", SCORES)
def test_the_metric_of_the_study_reaches_every_output(key: str) -> None:
    runs = unequal(make_runs(seeds=(1, 2, 3), rows=600, accuracy={"full": 0.97, "ia3": 0.8}))
    rules = Compare(palette=["#000000"], resamples=1000, metric=key)  # type: ignore[arg-type]
    found = comparison.verdicts(runs, rules)
    content = comparison.comparison(runs, found, rules=rules)
    sample = sample_of_runs(runs, score=SCORES[key])
    for name, of_method in runs.items():
        of_file = metrics(of_method, metric=key)
        estimate = score_estimate(sample, name)
        assert of_file[key] == content["methods"][name]["score"] == round(estimate.mean, 4)
        assert {"accuracy", "accuracy_ci95", "macro_f1", f"{key}_ci95"} <= set(of_file)
    pair = content["pairs"]["full_vs_ia3"]
    gap = sample.scores["full"] - sample.scores["ia3"]
    assert pair["difference"] == pytest.approx(gap, abs=1e-4)
    assert (pair["verdict"], pair["winner"]) == ("better", "full")
    assert content["methods"]["full"]["best_rank"] == 1
    assert content["choice"]["method"] == "full"
    assert content["unequal_classes"]


def test_the_stage_of_each_method_waits_for_no_library_that_it_can_do_without(
    tmp_path: Path,
) -> None:
    runs = make_runs(methods=("lora",), seeds=(1, 2, 3))
    write_runs(tmp_path, runs)
    (tmp_path / "params.yaml").write_text(json.dumps(make_study(runs)))
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from stages import score
sys.argv = ["score", "lora"]
score.main()
print(*sorted({{"pandas", "scipy.stats", "statsmodels", "torch"}} & set(sys.modules)), "end")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "end\n", done.stdout + done.stderr
    assert (tmp_path / "metrics/lora.json").exists()

"""The choice: its burden of proof, failed trainings, and what would settle it."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

from benchmarks.verdicts import chosen
from fairtune.analysis import comparison
from fairtune.analysis.choice import Choice, choose
from fairtune.analysis.components import assumed, components
from fairtune.analysis.failures import learned_p, outlying, unlearned
from fairtune.analysis.looks import levels, until
from fairtune.analysis.planning import needed, power
from fairtune.analysis.sample import Sample, sample_of, sample_of_runs
from fairtune.analysis.verdicts import compare_all
from fairtune.core.errors import UserError
from fairtune.core.params import Compare
from fairtune.report import accuracy
from tests.reports import evidence_of
from tests.studies import make_runs


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statsmodels collects garbage at each Holm, which takes longer than a simulated study."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


COSTS = {"a": 1.0, "b": 2.0, "c": 3.0}
SCORES = {"a": 0.90, "b": 0.92, "c": 0.91}


def choice_at(p: dict[str, float], **knobs: object) -> Choice:
    """The choice where each method has this p against every rival."""
    keys = {"scores": SCORES, "weights": COSTS, **knobs}
    return choose(list(p), behind=lambda one, _: p[one], **keys)  # type: ignore[arg-type]


def test_the_cheapest_that_passes_after_holm_is_settled_on() -> None:
    # Holm: 0.01 * 3, 0.02 * 2 pass; 0.06 does not.
    found = choice_at({"a": 0.06, "b": 0.02, "c": 0.01})
    assert (found.method, found.settled, found.ground) == ("b", True, "settled")
    assert found.passing == ["b", "c"]
    assert found.p == pytest.approx({"a": 0.06, "b": 0.04, "c": 0.03})
    # 0.02 * 3 is more than 5%: nothing passes.
    assert not choice_at({"a": 0.3, "b": 0.02, "c": 0.3}).settled


def test_costs_within_two_percent_are_alike_and_the_higher_mean_decides() -> None:
    found = choice_at(dict.fromkeys("abc", 0.001), weights={"a": 1.0, "b": 1.015, "c": 3.0})
    assert found.method == "b"
    apart = choice_at(dict.fromkeys("abc", 0.001), weights={"a": 1.0, "b": 1.03, "c": 3.0})
    assert apart.method == "a"


def test_a_choice_that_is_not_settled_is_provisional() -> None:
    found = choice_at({"a": 0.25, "b": 0.15, "c": 0.19})
    assert (found.method, found.settled, found.ground) == ("b", False, "plausible")
    assert found.likely == ["b", "c"]
    assert choice_at({"a": 0.25, "b": 0.15, "c": 0.19}, plausible=0.3).method == "a"
    last = choice_at({"a": 0.9, "b": 0.4, "c": 0.5})
    assert (last.method, last.ground, last.cheapest) == ("b", "highest mean", "a")


def test_too_few_seeds_settle_nothing() -> None:
    found = choice_at(dict.fromkeys("abc", 0.0001), provable=False)
    assert (found.method, found.settled, found.passing) == ("a", False, [])


def test_a_method_with_a_failed_training_is_neither_candidate_nor_rival() -> None:
    def behind(one: str, rival: str) -> float:
        return 0.9 if "a" in (one, rival) else 0.001

    found = choose("abc", behind=behind, scores=SCORES, weights=COSTS, failed=["a"])
    assert (found.method, found.settled, found.failed) == ("b", True, ["a"])
    none = choose("abc", behind=behind, scores=SCORES, weights=COSTS, failed=["a", "b", "c"])
    assert (none.method, none.ground) == (None, "nothing learned")


def test_without_costs_several_that_pass_leave_no_choice() -> None:
    found = choice_at(dict.fromkeys("abc", 0.001), weights={})
    assert (found.method, found.settled, found.ground) == (None, False, "no costs")


def simulated(
    random: np.random.Generator, truth: dict[str, float], *, seeds: int, rows: int, effect: float
) -> Sample:
    """A probit study: rows of shared difficulty, methods of these accuracies, a seed effect."""
    spread = sqrt(9 + 1 + 1)
    slope = norm.pdf(ndtri(0.9)) / spread
    shared, right = random.normal(0, 3, rows), {}
    for name, share in truth.items():
        own = shared + random.normal(size=rows) + random.normal(0, effect / slope, (seeds, 1))
        right[name] = ndtri(share) * spread + own + random.normal(size=(seeds, rows)) > 0
    return sample_of(right)


def choice_of(sample: Sample) -> Choice:
    return chosen(sample, compare_all(sample, margin=0.01, resamples=200))


@pytest.mark.parametrize(("seeds", "rows"), [(1, 500), (3, 2000)])
def test_a_method_two_points_worse_is_not_chosen_though_it_is_the_cheapest(
    seeds: int, rows: int
) -> None:
    random, taken = np.random.default_rng(12), 0
    truth = {"cheap": 0.88, "b": 0.9, "c": 0.9, "d": 0.9}
    for _ in range(100):
        found = choice_of(simulated(random, truth, seeds=seeds, rows=rows, effect=0.003))
        assert not (found.settled and found.method == "cheap")
        taken += found.method == "cheap"
    assert taken <= 4


def test_ten_seeds_settle_a_study_of_equal_methods() -> None:
    random = np.random.default_rng(13)
    truth = dict.fromkeys("abcd", 0.9)
    settled = [
        choice_of(simulated(random, truth, seeds=10, rows=2000, effect=0.003)).settled
        for _ in range(20)
    ]
    assert sum(settled) >= 17


def test_learning_is_association_with_the_label_and_not_accuracy() -> None:
    labels = np.repeat([0, 1], [950, 50])
    rare = labels.copy()
    rare[950:970] = 0  # 30 of 50 found,
    rare[:25] = 1  # and 25 false alarms: accuracy 95.5%, no better than the commonest class
    assert learned_p(labels, rare, 2) < 1e-6
    constant = np.zeros(1000, dtype=np.int64)
    assert learned_p(labels, constant, 2) == 1
    random = np.random.default_rng(1)
    assert learned_p(labels, random.integers(0, 2, 1000), 2) > 0.05
    assert learned_p(labels, 1 - labels, 2) > 0.99  # the wrong way round is not learned
    three = np.arange(300) % 3
    assert learned_p(three, random.integers(0, 3, 300), 3) > 0.05
    noisy = np.where(random.random(300) < 0.3, three, random.integers(0, 3, 300))
    assert learned_p(three, noisy, 3) < 0.01


def test_a_collapsed_seed_is_counted_and_its_method_is_not_recommended() -> None:
    knobs = {"seeds": (1, 2, 3, 4, 5), "rows": 2000, "agreement": 0.97, "seed_spread": 0.001}
    runs = make_runs(accuracy=dict.fromkeys(("full", "lora", "qlora", "ia3"), 0.93), **knobs)
    runs["lora"][1] = make_runs(seeds=(2,), rows=2000, accuracy={"lora": 0.5})["lora"][0]
    assert unlearned(runs) == {"lora": [2]}
    found = evidence_of(runs)
    choice = found.comparison["choice"]
    assert choice["failed"] == ["lora"]
    assert choice["method"] not in (None, "lora")
    assert choice["settled"]
    assert found.comparison["outlying"] == {}


def test_a_training_far_from_its_methods_others_is_found() -> None:
    random = np.random.default_rng(2)
    for seeds in (3, 5, 10):
        sample = simulated(random, dict.fromkeys("ab", 0.87), seeds=seeds, rows=1000, effect=0.004)
        numbers = list(range(seeds))
        assert outlying(sample, numbers, known={}) == {}
        fallen = {name: one.copy() for name, one in sample.correct.items()}
        fallen["a"][1] &= random.random(1000) < 0.83  # 0.72
        found = outlying(sample_of(fallen), numbers, known={})
        assert {name: list(gaps) for name, gaps in found.items()} == {"a": ["1"]}
        assert found["a"]["1"] < -0.1
        assert outlying(sample_of(fallen), numbers, known={"a": [1]}) == {}


def test_levels_of_looks_add_up_and_grow() -> None:
    shares = levels([3, 5, 10])
    assert sum(shares) == pytest.approx(0.05)
    assert shares == sorted(shares)
    # O'Brien and Fleming's shape: 2 (1 - Phi(1.96 / sqrt(0.3))) at 30% of the seeds.
    assert shares[0] == pytest.approx(2 * norm.sf(1.959964 / sqrt(0.3)))
    assert until(5, [3, 5, 10]) == list(zip([3, 5], shares[:2], strict=True))
    assert until(4, []) == [(4, 0.05)]
    with pytest.raises(UserError, match=r"compare.looks: no look is planned at 4 seeds, but at 3"):
        until(4, [3, 5])


def test_what_a_look_decided_stays_decided() -> None:
    runs = make_runs(
        methods=("full", "ia3"), seeds=(1, 2, 3, 4, 5), rows=3000, accuracy={"ia3": 0.85}
    )
    rules = Compare(palette=["#000000"], resamples=1000, looks=[3, 5, 8])
    (found,) = comparison.judged(sample_of_runs(runs), rules)
    early = {name: of_method[:3] for name, of_method in runs.items()}
    (first,) = comparison.judged(sample_of_runs(early), rules)
    assert (first.verdict, first.winner) == ("better", "full")
    assert (found.verdict, found.comparison.seeds, found.comparison.low) == (
        "better", 3, first.comparison.low,
    )  # fmt: skip
    # The choice is made of all trainings.
    assert found.comparison.behind_a != first.comparison.behind_a
    said = " ".join(accuracy.details(evidence_of(runs, looks=[3, 5, 8])))
    assert "decided at three seeds" in said
    (once,) = comparison.judged(sample_of_runs(runs), replace_looks(rules))
    assert once.comparison.alpha == 0.05
    assert found.comparison.alpha < 0.05


def replace_looks(rules: Compare) -> Compare:
    return rules.model_copy(update={"looks": []})


def test_components_of_a_study_are_those_it_was_made_of() -> None:
    random = np.random.default_rng(6)
    truth = dict.fromkeys("ab", 0.9)
    found = [
        components(simulated(random, truth, seeds=8, rows=2000, effect=0.01)) for _ in range(40)
    ]
    seeds = np.mean([one.seeds for one in found])
    assert sqrt(seeds) == pytest.approx(0.01, rel=0.15)
    variance = np.mean([one.units[0, 0] + one.residual[0] for one in found])
    assert variance == pytest.approx(0.9 * 0.1, rel=0.05)
    assert not found[0].assumed
    one = components(simulated(random, truth, seeds=1, rows=500, effect=0.01), seed_effect=0.004)
    assert one.assumed
    assert one.seeds == pytest.approx([0.004**2] * 2)


def test_the_power_of_a_planned_study_is_that_of_simulated_whole_studies() -> None:
    random = np.random.default_rng(7)
    truth = {"a": 0.9, "b": 0.9, "c": 0.885}
    pilot = components(simulated(random, truth, seeds=40, rows=20_000, effect=0.004))
    pilot = replace(pilot, scores=np.array(list(truth.values())))
    expected = power(pilot, 1500, 5, margin=0.01)
    settled, decided, studies = 0, 0, 120
    for _ in range(studies):
        sample = simulated(random, truth, seeds=5, rows=1500, effect=0.004)
        settled += choice_of(sample).settled
        verdicts = compare_all(sample, margin=0.01, resamples=400)
        decided += sum(found.verdict != "cannot tell" for found in verdicts)
    # Three standard errors of so many studies.
    assert settled / studies == pytest.approx(expected.settled, abs=0.14)
    assert decided / studies / 3 == pytest.approx(expected.decided, abs=0.1)


def test_what_is_needed_grows_with_the_seed_effect_and_falls_with_rows() -> None:
    calm = assumed(4, accuracy=0.93, agreement=0.8, seed_effect=0.002)
    wild = assumed(4, accuracy=0.93, agreement=0.8, seed_effect=0.01)
    few, many = (needed(one, rows=2000, seeds=3, margin=0.01) for one in (calm, wild))
    assert few.seeds is not None
    assert few.seeds < (many.seeds or 99)
    more = needed(calm, rows=8000, seeds=3, margin=0.01)
    assert (more.seeds or 99) <= few.seeds
    # An effect that no rows can outweigh with three seeds.
    assert many.rows is None

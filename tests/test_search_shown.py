"""What is shown of searches: budgets, what they buy, neighbours, sentences and the chart."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairtune.analysis import comparison, metrics
from fairtune.analysis.neighbours import near, neighbours
from fairtune.analysis.rates import choose
from fairtune.analysis.search import expected_best, figures, summary, tolerance, unequal
from fairtune.charts import rates as chart
from fairtune.charts.gallery import compare
from fairtune.charts.records import Compared
from fairtune.core.errors import UserError
from fairtune.core.files import write_json
from fairtune.core.params import Compare
from fairtune.core.paths import METRICS, PARAMS, PLOTS, SEARCH_FILE, run_folder_of
from fairtune.report import rates as report
from fairtune.report import searches as tables_of
from fairtune.report.manifest import fairness
from fairtune.report.markup import plain_text
from fairtune.report.tables import hyperparameters
from fairtune.report.typeset import markdown, typst_source
from fairtune.report.values import context
from fairtune.runs.search import Search, read_search, read_searches
from fairtune.verification.figures import mismatches
from stages import compare as stage
from stages.compare import search_warnings
from tests.reports import evidence_of, make_study
from tests.searches import COLLAPSED, SEEDS, Right, make_search, make_searches, with_rates
from tests.studies import METHODS, PALETTE, make_runs, write_runs

RULES = Compare(palette=list(PALETTE), resamples=1000)
PEAK: Right = {1e-4: (170, 174), 1e-3: (186, 190), 1e-2: (176, 180)}
FLAT: Right = {1e-4: (185, 189), 1e-3: (186, 190), 1e-2: (185, 189)}
THREE = (1, 2, 3)


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    return make_runs(seeds=THREE, rows=2000)


@pytest.fixture(scope="module")
def all_searched(runs: dict[str, Any]) -> dict[str, Any]:
    searches = make_searches(METHODS)
    content, tables = compare(with_rates(runs, searches), rules=RULES, searches=searches)
    return {"content": content, "tables": tables, "searches": searches}


# What a budget buys


@pytest.mark.parametrize("many", [1, 2, 5, 7])
def test_the_expected_best_is_the_mean_over_all_subsets(many: int) -> None:
    values = [float(value) for value in np.random.default_rng(many).random(many).round(2)]
    for size, found in enumerate(expected_best(values), start=1):
        every = [max(subset) for subset in combinations(values, size)]
        assert found == pytest.approx(sum(every) / len(every))


def test_the_whole_budget_buys_the_best_and_one_rate_the_mean() -> None:
    found = figures(make_search("lora", PEAK))["expected_best"]
    assert found["1"]["score"] == pytest.approx((0.86 + 0.94 + 0.89) / 3, abs=1e-4)
    assert found["3"] == {"score": 0.94, "seconds": 240.0}
    assert found["1"]["seconds"] == 80.0


# The figures of one method


def test_the_figures_hold_every_score_and_what_the_rule_made_of_them() -> None:
    search = make_search("full", PEAK | {1e-1: (COLLAPSED, 150)})
    found = figures(search)
    assert list(found["rates"]) == ["0.0001", "0.001", "0.01", "0.1"]
    assert found["rates"]["0.001"] == {
        "score": 0.94, "of_seeds": {"1001": 0.93, "1002": 0.95}, "collapsed": None,
    }  # fmt: skip
    assert found["rates"]["0.1"]["collapsed"] == [1001]
    assert (found["collapsed"], found["trials"], found["seeds"]) == (1, 8, 2)
    assert found["chosen"] == found["best"] == 1e-3
    assert found["chosen_collapsed"] is None
    assert found["range"] == [1e-4, 1e-1]
    assert found["edge"] is None


@pytest.mark.parametrize(
    ("right", "decades"),
    [
        (PEAK, 0.0),
        (FLAT, 2.0),
        ({1e-4: (170, 174), 1e-3: (186, 190), 1e-2: (185, 189)}, 1.0),
        # The lowest is within one standard error, and is chosen, but no neighbour of the best.
        ({1e-5: (185, 189), 1e-4: (170, 174), 1e-3: (186, 190)}, 0.0),
    ],
    ids=["peak", "flat", "to one side", "with a gap"],
)
def test_the_tolerance_is_the_width_of_the_run_about_the_best(right: Right, decades: float) -> None:
    assert tolerance(choose(make_search("a", right).trials, "accuracy", "lowest")) == pytest.approx(
        decades
    )


# Budgets


def test_equal_budgets_are_equal_by_what_was_run() -> None:
    searches = {"a": make_search("a", PEAK), "b": make_search("b", FLAT)}
    assert unequal(searches, []) == []
    # What a search says of itself does not count.
    lie = searches["b"].model_copy(update={"epochs": 9, "seeds": [5], "trials_per_range": 77})
    assert unequal(searches | {"b": lie}, []) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (make_search("b", PEAK | {1e-1: (150, 152)}), [
            "the number of learning rates differs (3 for `a`; 4 for `b`)",
            "the number of trials differs (6 for `a`; 8 for `b`)",
            "the decades that the learning rates span differ (2.00 for `a`; 3.00 for `b`)",
        ]),
        (make_search("b", {rate: (*of, 170) for rate, of in PEAK.items()}, seeds=(*SEEDS, 1003)), [
            "the number of trials differs (6 for `a`; 9 for `b`)",
            "the seeds differ (1001, 1002 for `a`; 1001, 1002, 1003 for `b`)",
        ]),
        (make_search("b", PEAK, seeds=(7, 8)), [
            "the seeds differ (1001, 1002 for `a`; 7, 8 for `b`)",
        ]),
        (make_search("b", PEAK, epochs=1), [
            "the epochs of a trial differ (3 for `a`; 1 for `b`)",
        ]),
        (make_search("b", PEAK, steps=45), [
            "the optimizer steps of a trial differ (90 for `a`; 45 for `b`)",
        ]),
    ],
    ids=["rates", "more seeds", "other seeds", "epochs", "steps"],
)  # fmt: skip
def test_each_inequality_is_named(other: Search, said: list[str]) -> None:
    assert unequal({"a": make_search("a", PEAK), "b": other}, []) == said


def test_given_rates_beside_searched_ones_are_unequal() -> None:
    searches = {"a": make_search("a", PEAK)}
    assert unequal(searches, ["b", "c"]) == [
        "`b` and `c` had a given learning rate and no search, while `a` was searched"
    ]
    found = summary(searches, ["a", "b", "c"], [], metric="accuracy", margin=0.01)
    assert found is not None
    assert (found["equal_budget"], found["given"]) == (False, ["b", "c"])


def test_rates_of_three_figures_and_a_trial_that_diverged_leave_budgets_equal() -> None:
    odd = make_search("b", {1.58e-4: (170, 174), 1.59e-3: (186, 190), 1.57e-2: (176, 180)})
    early = odd.trials[0].model_copy(
        update={"accuracy": [0.5], "loss": [None], "steps": 7, "diverged": "the loss is nan"}
    )
    odd = odd.model_copy(update={"trials": [early, *odd.trials[1:]]})
    assert unequal({"a": make_search("a", PEAK), "b": odd}, []) == []


def test_without_a_search_there_is_nothing() -> None:
    assert summary({}, ["a"], [], metric="accuracy", margin=0.01) is None


# Neighbours


def verdicts_of(**accuracy: float) -> list[Any]:
    agreement = 0.9 if len(set(accuracy.values())) > 1 else 0.999
    made = make_runs(methods=tuple(accuracy), accuracy=accuracy, seeds=THREE, rows=20_000,
                     agreement=agreement, seed_spread=0.0)  # fmt: skip
    return comparison.verdicts(made, RULES)


def test_the_neighbours_are_the_rates_tried_next_to_the_chosen_one() -> None:
    search = make_search("a", PEAK | {1e-1: (150, 152)})
    assert [one.rate for one in near(search, "accuracy")] == [1e-3, 1e-4, 1e-2]
    assert [one.rate for one in near(make_search("a", FLAT), "accuracy")] == [1e-4, 1e-3]


def test_a_better_stands_where_the_winner_is_ahead_at_all_neighbours() -> None:
    found = verdicts_of(a=0.95, b=0.85)
    assert [(v.verdict, v.winner) for v in found] == [("better", "a")]
    behind = make_search("b", {1e-4: (150, 154), 1e-3: (160, 164), 1e-2: (150, 154)})
    searches = {"a": make_search("a", PEAK), "b": behind}
    held = neighbours(searches, found, metric="accuracy", margin=0.01)["a_vs_b"]
    assert held == {
        "first": "a", "second": "b", "verdict": "better", "winner": "a", "combinations": 9,
        "standing": 9, "share": 1.0, "stands": True, "at_chosen": True, "breaks": None,
    }  # fmt: skip


def test_a_better_breaks_at_the_first_combination_that_turns_it() -> None:
    found = verdicts_of(b=0.85, a=0.95)
    rival = make_search("b", {1e-4: (150, 154), 1e-3: (174, 178), 1e-2: (150, 154)})
    searches = {"a": make_search("a", PEAK), "b": rival}
    held = neighbours(searches, found, metric="accuracy", margin=0.01)["b_vs_a"]
    # a at 1e-4 has 0.86, b at 1e-3 has 0.88.
    assert (held["standing"], held["combinations"], held["stands"]) == (8, 9, False)
    assert held["share"] == pytest.approx(8 / 9, abs=1e-4)
    assert held["at_chosen"] is True
    assert held["breaks"] == {"first_rate": 1e-3, "second_rate": 1e-4, "difference": 0.02}


def test_an_equivalence_stands_within_the_margin_alone() -> None:
    found = verdicts_of(a=0.93, b=0.93)
    assert [v.verdict for v in found] == ["equivalent"]
    searches = {"a": make_search("a", FLAT), "b": make_search("b", FLAT)}
    held = neighbours(searches, found, metric="accuracy", margin=0.01)["a_vs_b"]
    assert (held["stands"], held["combinations"]) == (True, 4)
    # 0.935 and 0.94 are half a point apart: not within a margin of as much.
    held = neighbours(searches, found, metric="accuracy", margin=0.005)["a_vs_b"]
    assert held["standing"] == 2
    apart = {"a": make_search("a", PEAK), "b": make_search("b", PEAK)}
    held = neighbours(apart, found, metric="accuracy", margin=0.01)["a_vs_b"]
    assert held["standing"] == 3, "each rate with itself"


def test_an_unsettled_pair_and_one_with_a_given_rate_have_no_neighbours() -> None:
    found = verdicts_of(a=0.95, b=0.85)
    assert neighbours({"a": make_search("a", PEAK)}, found, metric="accuracy", margin=0.01) == {}
    made = make_runs(
        methods=("a", "b"), seeds=THREE, accuracy={"a": 0.93, "b": 0.92}, agreement=0.5
    )
    open_pair = comparison.verdicts(made, RULES)
    assert [v.verdict for v in open_pair] == ["cannot tell"]
    both = {"a": make_search("a", PEAK), "b": make_search("b", PEAK)}
    assert neighbours(both, open_pair, metric="accuracy", margin=0.01) == {}


# Files


def lists(value: Any) -> list[list[Any]]:
    """Return all lists of a JSON value, those in mappings."""
    if isinstance(value, list):
        return [value]
    if isinstance(value, dict):
        return [one for part in value.values() for one in lists(part)]
    return []


def test_the_comparison_holds_the_searches_and_dvc_finds_no_records_in_them(
    all_searched: dict[str, Any],
) -> None:
    found = all_searched["content"]["search"]
    assert list(found["methods"]) == list(METHODS)
    assert found["equal_budget"] is True
    assert all(one and not isinstance(one[0], dict) for one in lists(found))
    json.dumps(found, allow_nan=False)


def test_a_study_without_searches_says_so(runs: dict[str, Any]) -> None:
    assert compare(runs, rules=RULES)[0]["search"] is None


def test_searches_are_read_where_they_are_and_a_broken_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = make_search("lora", PEAK)
    path = run_folder_of("lora") / SEARCH_FILE
    write_json(path, json.loads(search.model_dump_json()))
    assert read_searches(["full", "lora"]) == {"lora": search}
    write_json(path, {"method": "lora"})
    with pytest.raises(UserError, match=r"runs/lora/search.json: .* is not what this version"):
        read_search("lora")


def test_verification_computes_searches_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    searches = make_searches(("full", "lora"))
    trained = with_rates({name: runs[name] for name in ("full", "lora")}, searches)
    content, tables = compare(trained, rules=RULES, searches=searches)
    write_json(METRICS / "comparison.json", content)
    for name, table in tables.items():
        write_json(PLOTS / f"{name}.json", table)

    def differing(**changed: Any) -> set[tuple[str, str]]:
        found = {**searches, "lora": searches["lora"].model_copy(update=changed)}
        return {
            (one.file, one.key)
            for one in mismatches(trained, RULES, found)
            if not one.file.startswith(("metrics/full", "metrics/lora"))
        }

    for name in trained:
        write_json(METRICS / f"{name}.json", metrics.metrics(trained[name], metric="accuracy"))
    assert differing() == set()
    assert ("runs/lora/search.json", "best") in differing(best=1e-4)
    other = differing(learning_rate=1e-4)
    assert ("runs/lora/search.json", "learning_rate") in other
    assert ("runs/lora/1/run.json", "parameters.method.learning_rate") in other
    trials = [
        trial.model_copy(update={"confusion": [[60, 40], [40, 60]]}) if trial.rate > 1e-3 else trial
        for trial in searches["lora"].trials
    ]
    files = {file for file, _ in differing(trials=trials)}
    assert {"metrics/comparison.json", "plots/rates.json"} <= files


def test_the_stage_warns_of_unequal_budgets_edges_and_collapsed_choices() -> None:
    assert search_warnings(None) == []
    quiet = {"a": make_search("a", PEAK), "b": make_search("b", PEAK)}
    found = summary(quiet, ["a", "b"], [], metric="accuracy", margin=0.01)
    assert search_warnings(found) == []
    rising: Right = {1e-4: (150, 152), 1e-3: (170, 172), 1e-2: (180, 182)}
    failing: Right = {1e-4: (140, COLLAPSED), 1e-3: (138, COLLAPSED), 1e-2: (120, COLLAPSED)}
    loud = {"a": make_search("a", rising), "b": make_search("b", failing, epochs=1)}
    said = search_warnings(summary(loud, ["a", "b"], [], metric="accuracy", margin=0.01))
    assert said == [
        "the budgets of the searches are unequal: the epochs of a trial differ (3 for `a`; 1 for "
        "`b`)",
        "methods.a: its best learning rate, 1e-2, is the highest that was tried, and a higher one "
        "may be better; widen learning_rate.search",
        "methods.b: its best learning rate, 1e-4, is the lowest that was tried, and a lower one "
        "may be better; widen learning_rate.search",
        "methods.b: a trial at the chosen learning rate, 1e-4, learned nothing (seeds [1002]); "
        "widen learning_rate.search to lower rates",
    ]


def test_the_stage_reads_the_searches_of_the_methods_that_have_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runs: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    searches = make_searches(("full", "ia3"))
    trained = with_rates(runs, searches)
    write_runs(tmp_path, trained)
    study = make_study(trained)
    for name, search in searches.items():
        study["methods"][name]["learning_rate"] = {"search": list(search.asked)}
        content = json.loads(search.model_dump_json())
        write_json(run_folder_of(name) / SEARCH_FILE, content)
    write_json(PARAMS, study)
    stage.main()
    said = capsys.readouterr().out
    assert (
        "compare: warning: the budgets of the searches are unequal: `lora` and `qlora` had" in said
    )
    assert "compare: warning: methods.ia3: its best learning rate, 1e-1, is the highest" in said
    found = json.loads((METRICS / "comparison.json").read_text())["search"]
    assert list(found["methods"]) == ["full", "ia3"]
    drawn = json.loads((PLOTS / "rates.json").read_text())
    assert [r["method"] for r in drawn if r["mark"] == "given"] == ["lora", "qlora"]


# The chart


def records_of(runs: dict[str, Any], searches: dict[str, Search]) -> list[dict[str, Any]]:
    trained = with_rates(runs, searches)
    return chart.records(
        Compared(runs=trained, verdicts=[], palette=PALETTE, margin=0.01, searches=searches)
    )


def test_the_chart_has_every_rate_with_its_seeds_and_the_chosen_one(
    all_searched: dict[str, Any],
) -> None:
    records = all_searched["tables"]["rates"]
    assert len(records) == 24
    for name, search in all_searched["searches"].items():
        of_method = [record for record in records if record["method"] == name]
        used = [r["learning_rate"] for r in of_method if r["mark"] == "chosen"]
        assert used == [search.learning_rate]
        choice = choose(search.trials, "accuracy", "lowest")
        for record, one in zip(of_method, choice.tried, strict=True):
            assert record["score"] == pytest.approx(one.mean, abs=1e-4)
            assert (record["low"], record["high"]) == (min(one.scores), max(one.scores))
            assert record["band_high"] - record["band_low"] == pytest.approx(
                choice.standard_error, abs=2e-4
            )


def test_a_given_rate_is_one_point_of_the_studys_trainings(runs: dict[str, Any]) -> None:
    records = records_of(runs, make_searches(("lora",)))
    full = [record for record in records if record["method"] == "full"]
    validation = [run.record.accuracy.validation for run in runs["full"]]
    assert len(full) == 1
    assert full[0]["mark"] == "given"
    assert full[0]["panel"] == "full (given 2e-5)"
    assert full[0]["score"] == pytest.approx(sum(validation) / 3, abs=1e-4)
    assert (full[0]["low"], full[0]["high"]) == (min(validation), max(validation))
    assert full[0]["band_low"] is None


def test_a_given_rate_has_no_point_beside_searches_by_another_score(runs: dict[str, Any]) -> None:
    records = records_of(runs, make_searches(("lora",), metric="macro_f1"))
    assert {record["method"] for record in records} == {"lora"}
    assert {record["metric"] for record in records} == {"macro F1"}
    assert {record["metric"] for record in records_of(runs, {})} == {"accuracy"}
    caption = report.caption(
        evidence_of(runs, searches=make_searches(("lora",), metric="macro_f1"))
    )
    assert caption.startswith("Macro F1 on validation rows")
    assert caption.endswith("is known of a given rate: `full`, `qlora` and `ia3`.")


# The report


def test_without_a_search_one_sentence_says_that_rates_were_given(runs: dict[str, Any]) -> None:
    found = evidence_of(runs)
    told = report.rates(found)
    assert told["searched"] == ""
    assert told["sentences"] == ["Learning rates were given by the study and not searched."]
    assert told["caption"].endswith("Each rate was given.")
    assert tables_of.chosen(found) is tables_of.by_budget(found) is None
    values = context(found)
    assert "charts/rates.svg" in markdown(values)
    assert "<fig-rates>" in typst_source(values)
    assert "@tab-budget" not in typst_source(values)


def test_the_report_says_rule_budget_and_what_came_of_the_searches(runs: dict[str, Any]) -> None:
    found = evidence_of(runs, searches=make_searches(METHODS))
    values = context(found)
    told = " ".join(values["rates"]["sentences"])
    assert values["rates"]["searched"] == (
        "The learning rates of `full`, `lora`, `qlora` and `ia3` were searched"
    )
    assert (
        "All methods had the same budget: six rates over 2.0 decades, each with two seeds of three "
        "epochs, which is 12 trials." in told
    )
    assert "For `ia3` the best rate is the highest that was tried" in told
    assert "`lora` forgives a rate that is off most" in told
    assert "For `full` no rate next to the best is within one standard error of it." in told
    assert "a hint, and no proof" in told
    sentences = [one for text in values["rates"]["sentences"] for one in text.split(". ")]
    assert len(sentences) == len(set(sentences))
    assert ["Trials of learning rates", "12"] in fairness(found).rows
    settings = hyperparameters(found)
    assert ["learning rate", "1.58e-4 (searched)", "6.31e-4 (searched)", "6.31e-4 (searched)",
            "3.98e-2 (searched)"] in settings.rows  # fmt: skip
    twin = markdown(values)
    assert twin.count("All methods had the same budget") == 1
    assert "| `full` | 1e-5 to 1e-3 | 1.58e-4 | 1.58e-4 | 1 of 6 | 0.0 | 12 | 2 | 4.00 |" in twin
    assert "| 6 | 92.5% (4.00) |" in twin
    assert "#cite(<breiman1984>)" in typst_source(values)


def test_the_rule_is_that_of_the_searches_in_figures_chart_and_report(runs: dict[str, Any]) -> None:
    """Three rates score alike; their losses fall, so that the rules take other ones."""
    losses = {1e-4: [0.3], 1e-3: [0.2], 1e-2: [0.1]}
    for rule, rate, said in (
        ("lowest", 1e-4, "of the rates tried, the lowest whose mean validation accuracy after the "
         "last epoch lies within one standard error of the best"),
        ("lowest_loss", 1e-2, "of the rates tried whose mean validation accuracy after the last "
         "epoch lies within one standard error of the best, that with the lowest mean validation "
         "loss"),
    ):  # fmt: skip
        made = make_search("lora", FLAT)
        trials = [one.model_copy(update={"loss": losses[one.rate]}) for one in made.trials]
        changed = {"trials": trials, "rule": rule, "learning_rate": rate}
        searches = {"lora": made.model_copy(update=changed)}
        shown = figures(searches["lora"])
        assert shown["chosen"] == rate
        assert bool(shown["lower_loss"]) == (rule == "lowest")
        lora = {"lora": runs["lora"]}
        records = records_of(with_rates(lora, searches), searches)
        assert [one["learning_rate"] for one in records if one["mark"] == "chosen"] == [rate]
        values = context(evidence_of(lora, searches=searches))
        assert f"stated beforehand: {said}" in " ".join(typst_source(values).split())
        assert f"stated beforehand: {said}." in markdown(values)


def test_unequal_budgets_are_told_and_not_called_equal(runs: dict[str, Any]) -> None:
    searches = make_searches(("full", "lora"))
    mixed = evidence_of(runs, searches=searches)
    told = report.budget(mixed.search or {})
    assert told.startswith("The searched methods had the same budget: six rates")
    assert told.endswith(
        "The budgets of the study's methods were not equal. `qlora` and `ia3` had a given learning "
        "rate and no search, while `full` and `lora` were searched."
    )
    assert "budgets of the searches of learning rates differ" in fairness(mixed).note
    table = tables_of.chosen(mixed)
    assert table is not None
    assert table.rows[3][:4] == ["`ia3`", "given", "1e-2", "—"]
    alone = evidence_of({"lora": runs["lora"]}, searches=make_searches(("lora",)))
    assert report.budget(alone.search or {}).startswith("The budget was six rates")
    assert report.rates(alone)["searched"] == "The learning rate of `lora` was searched"
    unlike = searches | {"lora": make_search("lora", PEAK)}
    both = evidence_of({name: runs[name] for name in unlike}, searches=unlike)
    assert "same budget" not in report.budget(both.search or {})


def figures_with(**of_methods: dict[str, Any]) -> dict[str, Any]:
    return {"methods": of_methods}


def test_extensions_are_told_in_number() -> None:
    assert report.extended(figures_with(a={"extensions": 0})) == ""
    assert report.extended(figures_with(a={"extensions": 1})) == (
        "A best rate had lain on an edge, so the range was extended once."
    )
    assert "all ranges were extended twice" in report.extended(
        figures_with(a={"extensions": 2}, b={"extensions": 2})
    )


def test_methods_that_forgive_alike_are_not_ranked() -> None:
    wide = {"tolerance_decades": 0.8}
    assert report.forgiving(figures_with(a=wide, b=wide)) == (
        "For every method rates next to one another are within one standard error of the best over "
        "0.8 decades."
    )
    none = {"tolerance_decades": 0.0}
    assert report.forgiving(figures_with(a=none)).startswith("For `a` no rate next to the best")
    two = report.forgiving(figures_with(a=wide, b=wide, c={"tolerance_decades": 0.4}))
    assert two.startswith("`a` and `b` forgive a rate")
    assert two.endswith("For `c` they are over 0.4.")


def test_a_chosen_rate_that_failed_with_a_seed_is_told() -> None:
    one = {"chosen_collapsed": [1002], "seeds": 2}
    assert report.collapsed(figures_with(a=one, b={"chosen_collapsed": None, "seeds": 2})) == (
        "Even at the chosen rate trials learned nothing: `a` (1 of 2 trials)."
    )


def test_a_rate_that_may_be_too_low_is_told_in_the_report_and_as_a_warning() -> None:
    trials = [
        trial.model_copy(update={"loss": [0.9, {3e-5: 0.2094, 1e-4: 0.1891}[trial.rate]]})
        for trial in make_search("b", {3e-5: (180, 184), 1e-4: (181, 185)}).trials
    ]
    low = make_search("b", {3e-5: (180, 184), 1e-4: (181, 185)}).model_copy(
        update={"trials": trials}
    )
    searches = {"a": make_search("a", {1e-5: (180, 184), 1e-4: (181, 185)}), "b": low}
    found = summary(searches, ["a", "b"], [], metric="accuracy", margin=0.01)
    assert report.too_low(found) == [
        "The learning rate of `b` may be too low: of the rates that count as equal, 1e-4 had a "
        "lower validation loss with every seed (0.189, and 0.209 at the chosen 3e-5), which its "
        "score on few rows does not show."
    ]
    assert report.doubt(found) == "By the validation loss the learning rate of `b` may be too low."
    assert report.doubt({"methods": {"a": found["methods"]["a"]}}) == report.doubt(None) == ""
    warned = [line for line in search_warnings(found) if "too low" in line]
    assert warned == [
        "methods.b: its learning rate, 3e-5, may be too low: of the rates that count as equal, "
        "1e-4 has a lower validation loss with every seed; begin learning_rate.search higher, or "
        "give it more seeds or validation rows"
    ]


def test_a_loss_that_is_no_number_is_told_in_words() -> None:
    of = {"lower_loss": {"rate": 1e-4, "loss": 0.1}, "chosen_loss": None, "chosen": 3e-5}
    assert "(0.100, and no number at the chosen 3e-5)" in report.too_low(figures_with(a=of))[0]


def test_verdicts_at_neighbouring_rates_agree_in_number() -> None:
    base = {"combinations": 9, "standing": 9, "share": 1.0, "stands": True, "at_chosen": True,
            "breaks": None}  # fmt: skip
    broken = base | {
        "standing": 8, "share": 0.8889, "stands": False,
        "breaks": {"first_rate": 1e-3, "second_rate": 1.58e-4, "difference": -0.02},
    }  # fmt: skip

    class Found:
        score_name = "accuracy"

        def __init__(self, pairs: dict[str, Any]) -> None:
            self.search = {"neighbours": pairs or None, "given": None}

    def told(**pairs: Any) -> str:
        for name, of in pairs.items():
            first, second = name.split("_vs_")
            pairs[name] = of | {"first": first, "second": second}
        return plain_text(report.neighbours(Found(pairs)))  # type: ignore[arg-type]

    assert told() == ""
    assert told(a_vs_b=base).startswith("The one verdict that the study could settle would stand")
    assert told(a_vs_b=base, a_vs_c=base).startswith("All 2 verdicts")
    assert told(a_vs_b=broken).startswith("The one verdict that the study could settle would not")
    mixed = told(a_vs_b=base, a_vs_c=broken)
    assert mixed.startswith("1 of the 2 verdicts that the study could settle would stand")
    assert "that on a and c fails in 1 of 9, among others 1e-3 and 1.58e-4." in mixed
    many = told(**{f"a_vs_{letter}": broken for letter in "bcdef"})
    assert many.startswith("None of the 5 verdicts")
    assert "; two others too." in many


def test_a_decade_is_a_factor_of_ten() -> None:
    assert tolerance(choose(make_search("a", FLAT).trials, "accuracy", "lowest")) == math.log10(
        1e-2 / 1e-4
    )

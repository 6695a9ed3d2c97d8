"""The seeds and test rows that a question needs, before any training and after a pilot."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairtune import plan
from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.design.pilot import at_hand, seconds_by_method, training_seconds
from tests import commands, tiny
from tests.reports import ROOT
from tests.searches import make_search
from tests.studies import PROFILES, make_runs, write_runs

METHODS = ("full", "lora", "ia3")


def study(folder: Path, *, seeds: tuple[int, ...], runs: bool = True, **changes: Any) -> None:
    """Write a study of RoBERTa-base's numbers: params.yaml and, if asked for, its runs."""
    made = make_runs(methods=METHODS, seeds=seeds, rows=400)
    record = next(iter(made.values()))[0].record
    rows = {key: record.data.rows[key] for key in ("train", "validation", "test")}
    tiny.write_study(
        folder,
        {
            "seeds": list(seeds),
            "subset": {**rows, "seed": 1},
            "methods": {name: copy.deepcopy(PROFILES[name].block) for name in METHODS},
            "compare.metric": "accuracy",
            "compare.resamples": 1000,
            **{key: record.parameters[key] for key in ("model", "encode", "train")},
            **changes,
        },
    )
    if runs:
        write_runs(folder, made)


def answer(folder: Path, *words: str) -> dict[str, Any]:
    done = commands.run(plan.main, folder, "--json", *words)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def chance(found: dict[str, Any], seeds: int, rows: int) -> dict[str, Any]:
    return next(one for one in found["sizes"] if (one["seeds"], one["test_rows"]) == (seeds, rows))


def test_before_any_training_all_is_assumed(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1,), runs=False)
    found = answer(tmp_path)
    assert found["seeds"] == 0
    assert found["assumed"]
    assert found["text"][0].startswith("Assumed: 3 methods, all right on 90.0% of the rows")
    assert {one["minutes"] for one in found["sizes"]} == {None}
    # More rows and more seeds settle more, and worse predictions and a narrow margin less.
    small, large = chance(found, 3, 400), chance(found, 20, 2000)
    assert small["settled"] < large["settled"]
    assert small["decided"] < large["decided"]
    wide = answer(tmp_path, "--margin", "0.05", "--accuracy", "0.97", "--seed-effect", "0.001")
    assert chance(wide, 3, 400)["settled"] > 0.9
    assert wide["needed"]["seeds"] == 3
    assert wide["text"][1].endswith("that is enough, where 80 of 100 are wanted.")


def test_methods_that_agree_on_rows_take_fewer_of_them(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1,), runs=False)
    alike, unlike = (answer(tmp_path, "--agreement", share) for share in ("0.95", "0.3"))
    assert chance(alike, 10, 2000)["decided"] > chance(unlike, 10, 2000)["decided"] + 0.2


def test_a_pilot_of_one_seed_says_that_the_seed_effect_is_assumed(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1,))
    found = answer(tmp_path)
    assert found["assumed"]
    assert "is assumed, 0.50 points: it takes 3 seeds to measure it" in found["text"][0]
    other = answer(tmp_path, "--seed-effect", "0.02")
    assert "is assumed, 2.00 points" in other["text"][0]
    assert chance(other, 5, 2000)["settled"] < chance(found, 5, 2000)["settled"]


def test_a_study_of_several_seeds_says_what_each_open_pair_takes(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1, 2, 3, 4))
    found = answer(tmp_path)
    assert not found["assumed"]
    assert "Trainings of a method differ by" in found["text"][0]
    assert {one["seeds"] for one in found["sizes"]} == {3, 4, 5, 10, 20}
    assert found["settled"] == chance(found, 4, 400)["settled"]
    assert "full_vs_lora" in found["pairs"]
    said = [line for line in found["text"] if line.startswith("full and lora: decided in ")]
    assert len(said) == 1
    assert "yours to know" in found["text"][-1] or "verdict" in found["text"][-1]


def test_minutes_are_those_of_the_runs_with_the_test_scaled_by_rows(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1, 2, 3))
    found = answer(tmp_path)
    runs = make_runs(methods=METHODS, seeds=(1, 2, 3), rows=400)
    once = sum(seconds_by_method(runs).values())
    tests = sum(run.record.times.test_seconds for of in runs.values() for run in of) / 3
    assert chance(found, 3, 400)["minutes"] == pytest.approx(3 * once / 60, abs=0.01)
    assert chance(found, 5, 2000)["minutes"] == pytest.approx(5 * (once + 4 * tests) / 60, abs=0.01)
    record = runs["full"][0].record
    assert training_seconds(record) > record.times.train_seconds + record.times.test_seconds


def test_runs_of_some_seeds_are_a_pilot_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(tmp_path, seeds=(1, 2, 3))
    (tmp_path / "runs/lora/2/run.json").unlink()
    assert "2 seeds, 400 test rows" in answer(tmp_path)["text"][0]


def test_runs_of_other_parameters_are_refused_but_not_needed(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1,))
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 3", "epochs: 4"))
    done = commands.run(plan.main, tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "fairtune: runs/full/1: made with another train.epochs than params.yaml has; run "
        "`dvc repro` first\n"
    )
    assert {one["minutes"] for one in answer(tmp_path, "--from-nothing")["sizes"]} == {None}


def test_runs_at_the_rates_that_a_search_chose_are_those_of_the_study(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1, 2))
    asked = params.load(tmp_path / "params.yaml")
    rate = asked.method("lora").rate
    found = make_search("lora", {rate / 2: (160, 162), rate: (180, 182), rate * 2: (170, 172)})
    search = {"search": list(found.asked)}
    study(tmp_path, seeds=(1, 2), **{"methods.lora.learning_rate": search})
    done = commands.run(plan.main, tmp_path)
    assert "made with another methods.lora.learning_rate" in done.stderr
    (tmp_path / "runs/lora/search.json").write_text(found.model_dump_json())
    assert "2 seeds, 400 test rows" in answer(tmp_path)["text"][0]


def test_from_nothing_the_runs_still_tell_the_minutes(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1,))
    found = answer(tmp_path, "--from-nothing")
    assert found["seeds"] == 0
    assert chance(found, 3, 400)["minutes"] > 0
    assert {one["minutes"] for one in answer(tmp_path, "--from-nothing", "--methods", "2")["sizes"]}


def test_a_person_gets_a_table_and_sentences(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1,), runs=False)
    done = commands.run(plan.main, tmp_path)
    lines = done.stdout.splitlines()
    assert lines[1].split() == [
        *("Seeds", "Test", "rows", "Choice", "settled", "A", "pair", "decided", "Minutes")
    ]
    assert lines[2].split()[:2] == ["3", "400"]
    assert lines[2].split()[-1] == "n/a"
    assert "test rows the choice is settled in" in done.stdout
    assert max(map(len, lines[1:14])) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "1"], "--methods: 1 is not right; give a whole number from 2 to 20"),
        (["--methods", "2.5"], "--methods: 2.5 is not right; give a whole number from 2 to 20"),
        (["--accuracy", "93"], "--accuracy: 93 is not right; give a number between 0 and 1, such"),
        (["--agreement", "nan"], "--agreement: nan is not right; give a number between 0 and 1"),
        (["--power", "high"], "--power: high is not right; give a number between 0 and 1"),
        (["--margin", "0"], "--margin: 0 is not right; give a number between 0 and 0.5, such as"),
        (["--seed-effect", "-1"], "--seed-effect: -1 is not right; give a number between 0 and"),
    ],
)
def test_a_number_that_is_not_right_is_told_in_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        plan.arguments(words)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("seeds", "words", "said"),
    [
        ((1,), ["--agreement", "0.5"], "--agreement: the runs at hand tell; add --from-nothing"),
        ((1, 2, 3), ["--seed-effect", "0.01"], "--seed-effect: the 3 seeds at hand show it; add"),
    ],
)
def test_an_option_that_the_runs_answer_is_refused(
    tmp_path: Path, seeds: tuple[int, ...], words: list[str], said: str
) -> None:
    study(tmp_path, seeds=seeds)
    done = commands.run(plan.main, tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fairtune: {said}")
    assert done.stderr.count("\n") == 1


def test_one_method_has_no_such_question(tmp_path: Path) -> None:
    study(tmp_path, seeds=(1,), runs=False, methods={"full": PROFILES["full"].block})
    done = commands.run(plan.main, tmp_path)
    assert done.stderr.startswith("fairtune: methods: one alone is compared with nothing")


def test_the_committed_study_is_a_pilot() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairtune.plan"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Pilot: ")


def test_the_agreement_assumed_is_that_of_the_committed_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    from fairtune.core import params

    monkeypatch.chdir(ROOT)
    runs = at_hand(params.load())
    assert runs is not None
    right = np.stack([of[0].predictions.correct for of in runs.values()]).astype(float)
    found = np.corrcoef(right)[np.triu_indices(len(right), 1)]
    assert found.min() - 0.05 <= plan.AGREEMENT <= found.max()

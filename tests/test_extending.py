"""The choice of all rates, and the extension of all ranges where one best lies on an edge."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fairtune.core import params, paths
from fairtune.core.errors import UserError
from fairtune.core.files import write_json
from fairtune.rates import extending
from fairtune.runs.search import Trial, Trials
from fairtune.search import grid, run
from tests import tiny
from tests.searches import COLLAPSED, ROWS, make_trial

RANGES = {"full": (1e-5, 1e-3), "lora": (1e-4, 1e-2)}
SEEDS = (101, 102)


class Asked:
    """What trials say: the share of right rows falls with the distance to the best rate."""

    def __init__(self, best: dict[str, float]) -> None:
        self.best = best
        self.runs: list[tuple[str, int, list[float]]] = []

    def trial(self, name: str, rate: float, seed: int, round_: int) -> Trial:
        best, right = self.best[name], COLLAPSED
        if best:
            right = int(ROWS * 0.95 - 6 * abs(math.log10(rate / best))) + seed % 2
        return make_trial(rate, seed, right=right).model_copy(update={"round": round_})

    def run_trials(
        self, study: params.Params, name: str, rates: Sequence[float], *, round_: int = 0, **_: Any
    ) -> Trials:
        self.runs.append((name, round_, list(rates)))
        asked = study.method(name).searched
        assert asked is not None
        return Trials(
            method=name,
            asked=asked.search,
            epochs=1,
            seconds=2.0,
            at_once=2,
            device="a processor",
            trials=[self.trial(name, rate, seed, round_) for rate in rates for seed in SEEDS],
        )


def searched(
    monkeypatch: pytest.MonkeyPatch, folder: Path, best: dict[str, float], **search: Any
) -> tuple[dict[str, Any], Asked]:
    """Return the searches of two methods, from trials that are made up."""
    methods = {
        "full": {"learning_rate": {"search": list(RANGES["full"])}},
        "lora": {
            "learning_rate": {"search": list(RANGES["lora"])},
            "adapter": "lora",
            "targets": ["query"],
            "r": 2,
        },
        "given": {"learning_rate": 0.01},
    }
    section = {"trials": 3, "seeds": list(SEEDS), "epochs": None, "extend": True} | search
    tiny.write_study(folder, {"methods": methods, "search": section})
    monkeypatch.chdir(folder)
    study = params.load()
    asked = Asked(best)
    for name, (low, high) in RANGES.items():
        found = asked.run_trials(study, name, grid.rates(low, high, section["trials"]))
        write_json(paths.SEARCH / f"{name}.json", found.model_dump(mode="json"))
    asked.runs.clear()
    monkeypatch.setattr(run, "read_rows", lambda: ({}, {}))
    monkeypatch.setattr(run, "run_trials", asked.run_trials)
    return extending.searched(study), asked


def test_bests_within_their_ranges_cost_no_further_trial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, asked = searched(monkeypatch, tmp_path, {"full": 1e-4, "lora": 1e-3})
    assert asked.runs == []
    assert {name: one.learning_rate for name, one in found.items()} == {"full": 1e-4, "lora": 1e-3}
    assert all((one.extensions, one.on_edge) == (0, False) for one in found.values())


@pytest.mark.parametrize(
    ("rule", "losses", "place"),
    [("lowest", "falling", 0), ("lowest_loss", "falling", 2), ("lowest_loss", "rising", 0)],
)
def test_the_study_s_rule_chooses_and_is_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rule: str, losses: str, place: int
) -> None:
    """All rates score alike, and their losses alone tell them apart."""

    def alike(_: Asked, __: str, rate: float, seed: int, ___: int) -> Trial:
        loss = rate if losses == "rising" else 1 - rate
        return make_trial(rate, seed, right=180).model_copy(update={"loss": [loss]})

    monkeypatch.setattr(Asked, "trial", alike)
    found, _ = searched(monkeypatch, tmp_path, {}, rule=rule, extend=False)
    for name, ends in RANGES.items():
        assert found[name].learning_rate == grid.rates(*ends, 3)[place]
        assert found[name].rule == rule


def test_one_best_on_an_edge_extends_all_ranges_by_as_many_rates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, asked = searched(monkeypatch, tmp_path, {"full": 1e-3, "lora": 1e-3})
    # Half of three, rounded up: two rates more for either, each on its own side.
    # LoRA's best is as near to either edge: above, but a rate of 1 is none, so below.
    assert asked.runs == [("full", 1, [0.01, 0.1]), ("lora", 1, [1e-6, 1e-5])]
    assert len({len(one.trials) for one in found.values()}) == 1
    assert found["full"].range == (1e-5, 0.1)
    assert not found["full"].on_edge
    assert found["full"].extensions == found["lora"].extensions == 1
    assert {trial.round for trial in found["full"].trials} == {0, 1}
    assert found["full"].seconds == 4.0


def test_ranges_are_extended_twice_at_most_and_what_remains_on_an_edge_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, asked = searched(monkeypatch, tmp_path, {"full": 1e-12, "lora": 1e-3})
    assert [round_ for _, round_, _ in asked.runs] == [1, 1, 2, 2]
    assert found["full"].on_edge
    assert found["full"].extensions == 2
    assert len({len(one.trials) for one in found.values()}) == 1


def test_without_extend_a_best_on_an_edge_stays_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, asked = searched(monkeypatch, tmp_path, {"full": 1e-3, "lora": 1e-3}, extend=False)
    assert asked.runs == []
    assert found["full"].on_edge


def test_a_method_that_learned_nothing_at_any_rate_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        searched(monkeypatch, tmp_path, {"full": 1e-4, "lora": 0.0})
    assert str(error.value).startswith(
        "methods.lora.learning_rate: none of 3 rates from 0.0001 to 0.01 learned anything"
    )


def test_trials_of_another_version_are_refused_by_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"lora\.json: not found; run `dvc repro search@lora`"):
        extending.read_trials("lora")
    paths.SEARCH.mkdir(parents=True)
    (paths.SEARCH / "lora.json").write_text(json.dumps({"method": "lora", "given": True}))
    with pytest.raises(UserError, match=r"lora\.json: not what this version writes"):
        extending.read_trials("lora")

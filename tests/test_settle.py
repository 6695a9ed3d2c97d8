"""Seeds added until every pair has a verdict or the minutes are spent, under real DVC."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairtune import settle
from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.design import schedule
from fairtune.design.schedule import Pace
from tests import tiny
from tests.repositories import ROOT, Repository, clone, copy, forking, inside, until

# The report and the notebook have tests of their own: here the pipeline ends with `compare`.
LAST = "  report:"
METHODS = {
    "lora": {"learning_rate": 0.01, "adapter": "lora", "targets": ["query"], "r": 2},
    "ia3": {"learning_rate": 0.01, "adapter": "ia3", "targets": ["key"]},
}
WIDE, NARROW = 0.49, 0.01
"""A margin that twelve test rows can show two methods to keep, and one that they cannot."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A study that has run with one seed."""
    root = tmp_path_factory.mktemp("trained")
    pipeline = (ROOT / "dvc.yaml").read_text()
    tiny.write_encoder(root / "encoder")
    changes = {"methods": METHODS, "compare.metric": "accuracy", "compare.resamples": 1000}
    tiny.write_study(root, {**changes, "compare.margin": NARROW})
    made = clone(root, pipeline=pipeline[: pipeline.index(LAST)], shares_libraries=True)
    made.repro()
    return made


@pytest.fixture
def repository(trained: Repository, tmp_path: Path) -> Repository:
    return copy(trained, tmp_path)


def call(repository: Repository, minutes: float, *, fails: bool = False) -> list[str]:
    """Run settle; return the lines that are its own."""
    printed = repository.run(
        sys.executable, "-m", "fairtune.settle", "--minutes", str(minutes), fails=fails
    )
    assert "Traceback" not in printed
    return [line for line in printed.splitlines() if line.startswith(("settle:", "fairtune:"))]


def plan_of(repository: Repository) -> tuple[list[int], list[int]]:
    """Return the seeds and the looks of params.yaml, which must be right."""
    study = params.load(repository.root / "params.yaml")
    return list(study.seeds), list(study.compare.looks)


def trainings(repository: Repository) -> set[str]:
    return {
        str(path.parent.relative_to(repository.root / "models"))
        for path in repository.root.glob("models/*/*/run.json")
    }


def test_a_study_that_a_look_settles_stops_there(repository: Repository) -> None:
    repository.edit("compare.margin", WIDE)
    before = (repository.root / "params.yaml").read_text().splitlines()
    said = call(repository, 3)
    seeds, planned = plan_of(repository)
    assert seeds == [1, 2, 3]
    assert planned[0] == 3
    assert 4 <= planned[-1] <= 8
    assert said[0].startswith("settle: looks are planned at 3, ")
    assert said[0].endswith("the first seeds are 1, 2, 3")
    assert re.fullmatch(
        rf"settle: look 1 of {len(planned)}: 3 seeds, level [\d.e-]+ of 0.05 spent, 1 of 1 pairs "
        r"decided, [\d.]+ minutes used, [\d.]+ left",
        said[1],
    )
    assert said[2] == "settle: every pair has a verdict at 3 seeds: there is nothing more to do"
    assert trainings(repository) == {f"{name}/{seed}" for name in METHODS for seed in (1, 2, 3)}
    after = (repository.root / "params.yaml").read_text().splitlines()
    assert [line for line in after if line not in before] == [
        f"  looks: {planned}",
        *[line for line in after if line in ("- 2", "- 3", "seeds: [1, 2, 3]")],
    ]
    assert "Data and pipelines are up to date." in repository.dvc("status")
    content = json.loads((repository.root / "metrics/comparison.json").read_text())
    assert list(map(int, content["looks"])) == planned
    # A second call has nothing to train, whatever the budget.
    said = call(repository, 0.01)
    assert said[-1].endswith("there is nothing more to do")
    assert plan_of(repository) == (seeds, planned)


def test_a_budget_that_ends_leaves_a_plan_that_a_later_call_goes_on_with(
    repository: Repository,
) -> None:
    repository.edit("compare.looks", [3, 4])
    repository.edit("seeds", [1, 2, 3])
    said = call(repository, 0.1)
    assert re.fullmatch(
        r"settle: the look at 3 seeds needs about 1 minute, and 0\.\d are left; "
        r"`python -m fairtune.settle --minutes 1` goes on",
        said[-1],
    )
    assert trainings(repository) == {"lora/1", "ia3/1"}
    assert plan_of(repository) == ([1, 2, 3], [3, 4])


def test_a_later_call_goes_on_with_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_study(tmp_path, {"seeds": [1, 2, 3], "methods": METHODS, "compare.looks": [3, 4]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        settle.check, "stale", lambda study: (["lora"] * (len(study.seeds) > 3), [])
    )
    monkeypatch.setattr(settle.parallel, "slots", lambda: ["0"])
    monkeypatch.setattr(settle.stages, "dvc", lambda *_: 0)
    monkeypatch.setattr(settle, "look", lambda *_: ["lora_vs_ia3"])
    monkeypatch.setattr(settle, "pace_of", lambda *_: Pace(seconds={"lora": 60.0, "ia3": 60.0}))
    # Enough for this look, and not for the next and the report.
    ended = settle.settle(schedule.Clock(60 * 2))
    assert ended.startswith("the look at 4 seeds needs about ")
    study = params.load()
    assert (study.seeds, study.compare.looks) == ([1, 2, 3], [3, 4])
    ended = settle.settle(schedule.Clock(60 * 10))
    assert "the last planned look is over, and the study cannot tell lora and ia3 apart" in ended
    said = [line for line in capsys.readouterr().out.splitlines() if "look" in line]
    assert said[-1].startswith("settle: look 2 of 2: 4 seeds, level 0.05 of 0.05 spent, 0 of 1")
    study = params.load()
    assert (study.seeds, study.compare.looks) == ([1, 2, 3, 4], [3, 4])


def test_a_failed_training_leaves_what_is_finished_and_says_how_to_go_on(
    repository: Repository,
) -> None:
    repository.edit("methods.lora.rr", 3)
    said = call(repository, 4, fails=True)
    assert "methods.lora.rr: unknown key" in " ".join(said)
    assert said[-1].startswith("fairtune: the look at 3 seeds was not reached: a stage failed")
    assert said[-1].endswith(
        "once it is put right, `python -m fairtune.settle --minutes N` goes on"
    )
    assert plan_of(repository)[0] == [1, 2, 3]
    # In the file `ia3` comes first: DVC trained it before it came to the one that fails.
    assert trainings(repository) == {"ia3/1", "ia3/2", "ia3/3"}


def test_ctrl_c_leaves_a_plan_that_the_pipeline_takes(repository: Repository) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fairtune.settle", "--minutes", "4"],
        cwd=repository.root,
        env=forking() | repository.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: list(repository.root.glob("models/*/[23].part")))
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "settle: finished trainings are kept" in printed
    assert "Traceback" not in printed
    until(lambda: not inside(repository.root))
    seeds, planned = plan_of(repository)
    assert len(seeds) == planned[0] == 3
    repository.dvc("status", "compare")


def test_a_budget_without_room_for_two_looks_says_what_they_need(repository: Repository) -> None:
    before = (repository.root / "params.yaml").read_text()
    said = call(repository, 1, fails=True)
    assert len(said) == 1
    assert re.fullmatch(
        r"fairtune: --minutes: 1 is not right; looks at 3 and 4 seeds need about \d minutes",
        said[0],
    )
    assert (repository.root / "params.yaml").read_text() == before


@pytest.mark.parametrize("undecided", [[], ["lora_vs_ia3"]])
def test_a_study_that_was_judged_before_is_either_done_or_told_what_that_costs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    undecided: list[str],
) -> None:
    tiny.write_study(tmp_path, {"seeds": [1, 2, 3], "methods": METHODS})
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "params.yaml").read_text()
    monkeypatch.setattr(settle.check, "stale", lambda _: ([], []))
    monkeypatch.setattr(settle.parallel, "slots", lambda: ["0"])
    monkeypatch.setattr(settle.stages, "dvc", lambda *_: 0)
    monkeypatch.setattr(settle, "look", lambda study, *_: undecided[: len(study.seeds) < 5])
    monkeypatch.setattr(settle, "pace_of", lambda *_: Pace(seconds={"lora": 60.0, "ia3": 60.0}))
    ended = settle.settle(schedule.Clock(60 * 6.5))
    printed = capsys.readouterr().out
    if not undecided:
        assert ended == "every pair has a verdict: there is nothing to do"
        assert (printed, (tmp_path / "params.yaml").read_text()) == ("", before)
        return
    assert ended == "every pair has a verdict at 5 seeds: there is nothing more to do"
    lines = printed.splitlines()
    assert lines[1].startswith("settle: note: 3 seeds were judged once before, with the whole")
    assert lines[2].startswith("settle: look 1 of 2: 3 seeds, level 0.011 of 0.05 spent, 0 of 1")
    assert lines[3].startswith("settle: look 2 of 2: 5 seeds, level 0.05 of 0.05 spent, 1 of 1")
    study = params.load()
    assert (study.seeds, study.compare.looks) == ([1, 2, 3, 4, 5], [3, 5])


PACE = Pace(seconds={"full": 120.0, "lora": 60.0})


def test_the_plan_is_the_longest_that_fits() -> None:
    def of(minutes: float, *, at_hand: int = 1, missing: tuple[str, ...] = ()) -> list[int] | None:
        return schedule.affordable(60 * minutes, PACE, at_hand=at_hand, missing=missing)

    # A seed takes three minutes, a look 20 seconds, the report one minute.
    assert of(10.6) is None
    assert of(10.8) == [3, 4]
    assert of(14) == [3, 5]
    assert of(14, missing=("full",)) == [3, 4]
    assert of(14, at_hand=3) == [3, 5, 7]
    assert of(14, at_hand=6) == [6, 8, 10]
    last = of(10_000)
    assert last is not None
    assert (last[0], last[-1], len(last)) == (3, 50, 5)


def test_slots_share_the_trainings() -> None:
    pair = Pace(seconds=PACE.seconds, slots=2)
    assert pair.trainings(["full", "lora", "lora"]) == 120
    assert PACE.trainings(["full", "lora", "lora"]) == 240
    assert Pace(seconds=PACE.seconds, slots=8).trainings(["full", "lora"]) == 120
    assert PACE.trainings([]) == 0


@pytest.mark.parametrize("given", ["0", "-5", "soon", "nan", "inf"])
def test_minutes_that_are_none_are_refused_in_one_line(given: str) -> None:
    with pytest.raises(UserError, match=f"--minutes: {given} is not right; give a number between"):
        settle.arguments([f"--minutes={given}"])

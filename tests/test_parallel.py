"""Trainings side by side under real DVC, with two slots on a CPU."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairtune import parallel
from fairtune.cluster import stages
from fairtune.core.errors import UserError
from tests import tiny
from tests.repositories import Repository, copy, forking, inside, until

HELD = "LIBRARIES = "
"""What is imported once for all trainings."""
BEGUN = "        manifest = files.read_json("
"""A line of the stage `train`, within the folder that it fills, before which a test waits."""


@pytest.fixture
def repository(encoded: Repository, tmp_path: Path) -> Repository:
    return copy(encoded, tmp_path)


def begin(repository: Repository) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fairtune.parallel"],
        cwd=repository.root,
        env=forking() | {"FAIRTUNE_SLOTS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell without job control starts its background jobs deaf to Ctrl-C, and they hand
        # that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def both_train(repository: Repository, process: subprocess.Popen[str]) -> bool:
    """Wait until both trainings are under way at once; False when that never happens."""
    while process.poll() is None:
        if len(list(repository.root.glob("models/*/*.part"))) == 2:
            return True
        time.sleep(0.02)
    return False


MEETS = """\
        end = time.monotonic() + 60
        while len(list(folder.parent.parent.glob("*/*"))) < 2:
            assert time.monotonic() < end, "no other training runs beside this one"
            time.sleep(0.02)
"""
"""Lets a training wait for another one."""


def test_two_slots_train_at_once_and_leave_nothing_to_do(repository: Repository) -> None:
    replace(repository.root / "stages/train.py", BEGUN, MEETS + BEGUN)
    process = begin(repository)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0, printed
    assert "train@lora-1 done" in printed
    assert repository.status() == {}
    locked = (repository.root / "dvc.lock").read_text()
    assert "train@lora-1:" in locked
    assert "train@ia3-1:" in locked
    assert "record@ia3:" in locked


def test_one_that_fails_is_named_and_the_other_is_kept(repository: Repository) -> None:
    repository.edit("methods.ia3.rr", 3)
    process = begin(repository)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "train@ia3-1: fairtune: methods.ia3.rr: unknown key" in printed
    assert "the others' results are kept" in printed
    assert "Traceback" not in printed
    assert (repository.root / "models/lora/1/run.json").exists()


def test_a_signal_leaves_no_process_and_no_lock(repository: Repository) -> None:
    # Trainings that would not end by themselves.
    replace(repository.root / "stages/train.py", BEGUN, f"        time.sleep(600)\n{BEGUN}")
    ends = ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL))
    for sign, status in ends:
        process = begin(repository)
        # After a signal, that both begin again shows that it left no lock.
        assert both_train(repository, process)
        process.send_signal(sign)
        process.communicate(timeout=60)
        assert process.returncode == status
        # The process that held the libraries sees the end of the run by itself.
        until(lambda: not inside(repository.root))
        if sign == signal.SIGINT:
            # What trainings import makes no difference to signals: all of it, once, is enough.
            replace(repository.root / "fairtune/preload/wire.py", HELD, f"{HELD}()  # ")


def test_a_number_of_slots_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRTUNE_SLOTS", "two")
    with pytest.raises(UserError, match="FAIRTUNE_SLOTS: 'two' is not right"):
        parallel.slots()


def test_without_a_gpu_there_is_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRTUNE_SLOTS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert parallel.slots() == ["0"]


def test_each_visible_gpu_is_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRTUNE_SLOTS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert parallel.slots() == ["2", "5"]


@pytest.mark.parametrize(
    ("rate", "order"),
    [
        (0.01, ["repro encode", "repro rates", "run train@lora-1"]),
        (
            {"search": [0.001, 0.01]},
            ["repro encode", "run search@lora", "repro rates", "run train@lora-1"],
        ),
    ],
    ids=("given", "searched"),
)
def test_searches_run_side_by_side_before_the_rates_are_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: object, order: list[str]
) -> None:
    tiny.write_study(tmp_path, {"methods.lora.learning_rate": rate})
    monkeypatch.chdir(tmp_path)
    done: list[str] = []

    def run_all(stages: list[str], free: list[str]) -> list[parallel.Training]:
        assert free == ["0", "1"]
        done.extend(f"run {stage}" for stage in stages)
        return []

    def dvc(*words: str) -> int:
        done.append(" ".join(words))
        return 0

    names = {"search": ["search@lora"], "train": ["train@lora-1"]}
    monkeypatch.setattr(stages, "stale", lambda kind: names[kind])
    monkeypatch.setattr(parallel, "run_all", run_all)
    monkeypatch.setattr(stages, "dvc", dvc)
    stages.in_order(functools.partial(parallel.side_by_side, free=["0", "1"]))
    assert done == order


# As DVC does it: deaf to Ctrl-C while its stage runs, which is not.
DEAF = """
import signal, subprocess, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
usual = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
stage = subprocess.Popen(["sleep", "60"], preexec_fn=usual)
Path("begun").touch()
sys.exit(bool(stage.wait()))
"""


def test_where_the_trainings_follow_one_another_a_signal_ends_dvc_with_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "DVC", [sys.executable, "-c", DEAF])

    def end_once_begun(*_: object) -> None:
        until(Path("begun").exists)
        stages.end_like_ctrl_c(signal.SIGTERM, None)

    before = signal.signal(signal.SIGALRM, end_once_begun)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    began = time.monotonic()
    try:
        with pytest.raises(SystemExit) as caught:
            stages.dvc("repro")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert caught.value.code == 143
    assert time.monotonic() - began < stages.PATIENCE_SECONDS
    assert not [words for words in inside(tmp_path) if "sleep" in words]

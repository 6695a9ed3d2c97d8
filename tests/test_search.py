"""Trials of learning rates: which are run, beside how many others, and what is kept of them."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairtune.core import params
from fairtune.core.errors import DivergedError, UserError
from fairtune.runs.search import Trial
from fairtune.search import grid, room
from fairtune.search.pool import Pool
from tests.repositories import until

MIB = 2**20


def test_rates_are_log_spaced_and_hold_both_ends() -> None:
    found = grid.rates(1e-5, 1e-3, 5)
    assert found == [1e-5, 3.16e-5, 1e-4, 3.16e-4, 1e-3]
    assert grid.rates(2e-4, 0.5, 3) == [2e-4, 0.01, 0.5]


def test_an_extension_goes_on_with_the_same_spacing_and_half_as_many_rates() -> None:
    tried = grid.rates(1e-5, 1e-3, 5)
    keywords: dict[str, Any] = {"low": 1e-5, "high": 1e-3, "trials": 5}
    assert grid.extension(tried, **keywords, side="high") == [0.00316, 0.01, 0.0316]
    assert grid.extension(tried, **keywords, side="low") == [3.16e-7, 1e-6, 3.16e-6]
    # A second one begins where the first ended.
    longer = [*tried, 0.00316, 0.01, 0.0316]
    # 0.0999, 0.316, 0.999 would end below 1; one more would not.
    assert grid.extension(longer, **keywords, side="high")[-1] == pytest.approx(0.999, abs=1e-3)
    assert grid.extension([0.1, 0.9], low=0.1, high=0.9, trials=3, side="high")[-1] < 0.1


def test_a_method_that_needs_no_more_room_is_extended_where_its_best_is_nearer() -> None:
    assert grid.nearer_side([1, 2, 3, 4], 2) == "low"
    assert grid.nearer_side([1, 2, 3, 4], 3) == "high"
    assert grid.nearer_side([1, 2, 3], 2) == "high"


def test_as_many_trials_as_the_memory_bears() -> None:
    assert room.beside(1000 * MIB, 80_000 * MIB) == 57
    assert room.beside(40_000 * MIB, 39_000 * MIB) == 0
    held, free = room.held_and_free(on_gpu=False)
    assert 10 * MIB < held < 64 * 1024 * MIB
    assert free > 0


def note(folder: Path, item: Any, tell: Callable[[int, int], None]) -> Any:
    """Do a piece of work for the tests: tell, wait, and leave a trace of who ran beside it."""
    name, how = item
    (folder / f"{name}.on").touch()
    tell(MIB, 1000 * MIB)
    beside = len(list(folder.glob("*.on")))
    if how == "memory" and beside > 1:
        (folder / f"{name}.on").unlink()
        raise UserError("no room") from MemoryError()
    most = 0
    if how == "meet":  # none ends before four are there, however slowly the machine starts them
        until(lambda: (folder / "met").exists() or len(list(folder.glob("*.on"))) >= 4)
        most = len(list(folder.glob("*.on")))
        (folder / "met").touch()
    time.sleep(0.0 if how == "killed" else 0.15)
    beside = max(most, len(list(folder.glob("*.on"))))
    if how == "mistake":
        raise UserError("r: 0 is not right")
    if how == "defect":
        raise RuntimeError("unspecified launch failure")
    if how == "killed" and not (folder / f"{name}.killed").exists():
        (folder / f"{name}.killed").touch()
        (folder / f"{name}.on").unlink()
        os.kill(os.getpid(), 9)
    (folder / f"{name}.on").unlink()
    return name, beside, sorted(os.sched_getaffinity(0))


def pooled(folder: Path, items: list[tuple[str, str]], **keywords: Any) -> tuple[list[Any], Pool]:
    found: list[Any] = []
    pool = Pool(
        work=functools.partial(note, folder),
        done=lambda item, what, at_once: found.append(what),
        **({"most": 4, "label": "methods.lora"} | keywords),
    )
    pool.run(items)
    return found, pool


def test_the_first_runs_alone_until_it_tells_then_as_many_as_are_allowed(tmp_path: Path) -> None:
    found, pool = pooled(tmp_path, [(str(number), "meet") for number in range(9)])
    assert sorted(name for name, _, _ in found) == [str(number) for number in range(9)]
    assert pool.at_once == 4
    assert max(beside for _, beside, _ in found) == 4


def test_cores_are_divided_among_those_at_once(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    found, _ = pooled(tmp_path, [("a", ""), ("b", ""), ("c", "")], most=len(cores), cores=cores)
    assert all(len(of) == max(1, len(cores) // min(3, len(cores))) for _, _, of in found)


def test_one_that_finds_no_memory_is_run_again_with_fewer_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    found, pool = pooled(tmp_path, [("a", ""), ("b", "memory"), ("c", ""), ("d", "")])
    assert sorted(name for name, _, _ in found) == ["a", "b", "c", "d"]
    assert pool.limit < 4
    assert next(beside for name, beside, _ in found if name == "b") == 1


def test_one_that_the_system_kills_is_run_again_with_fewer(tmp_path: Path) -> None:
    found, pool = pooled(tmp_path, [("a", ""), ("b", "killed"), ("c", "")])
    assert sorted(name for name, _, _ in found) == ["a", "b", "c"]
    assert pool.limit < 4


def alone(item: Any, tell: Callable[[int, int], None]) -> Any:
    raise UserError("no room") from MemoryError()


def test_one_that_finds_no_memory_alone_says_what_to_lower() -> None:
    pool = Pool(work=alone, done=lambda *_: None, most=4, label="methods.lora")
    with pytest.raises(UserError, match=r"methods\.lora: out of memory, although .*batch_size"):
        pool.run(["a", "b"])


def test_one_that_ran_beside_others_is_run_again_though_they_were_heard_of_first(
    tmp_path: Path,
) -> None:
    pool = Pool(work=functools.partial(note, tmp_path), done=lambda *_: None, most=4)
    pool.most = 2
    pool.start(("a", ""))
    pool.start(("b", "memory"))
    first, second = pool.running
    assert not first.alone
    assert not second.alone
    time.sleep(0.5)
    pool.limit = 2
    for _ in ("holds", "done"):
        assert pool.hear(first) is None
    assert pool.hear(second) is None
    assert pool.hear(second) == ("b", "memory")
    assert (pool.limit, pool.most) == (1, 1)


def test_a_mistake_ends_all_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^methods\.lora: r: 0 is not right$"):
        pooled(tmp_path, [("a", "mistake"), ("b", ""), ("c", "")])


def test_a_fault_while_the_gpu_is_shared_ends_the_sharing_and_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = []

    def stop() -> bool:
        ended.append(True)
        return len(ended) == 1

    with pytest.raises(UserError, match="unspecified launch failure"):
        pooled(tmp_path, [("a", "defect")], sharing=True, stop_sharing=stop)
    assert ended == [True]
    assert "take turns on the GPU from now on" in capsys.readouterr().out


def test_work_ends_with_the_one_who_waits_for_it(tmp_path: Path) -> None:
    pool = Pool(work=functools.partial(note, tmp_path), done=lambda *_: None, most=2)
    pool.start(("a", ""))
    process = pool.running[0].process
    pool.end()
    assert not process.is_alive()
    assert not (tmp_path / "a.killed").exists()


def test_what_gave_no_numbers_counts_as_naming_the_commonest_class() -> None:
    from fairtune.search.trial import Seen

    seen = Seen([0.75], [0.4], np.zeros((2, 2), dtype=np.int64))
    seen.give_up(np.array([0, 1, 1, 1]), epochs=3)
    assert seen.accuracy == [0.75, 0.75, 0.75]
    assert seen.loss == [0.4, None, None]
    assert seen.confusion.tolist() == [[0, 1], [0, 3]]
    assert issubclass(DivergedError, UserError)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"search": [1e-3, 1e-5]},
            "search: [0.001, 1e-05] is upside down; expected [1e-05, 0.001]",
        ),
        ({"search": [1e-3, 1e-3]}, "holds one rate; expected a range, or the rate alone"),
        ({"search": [1e-3]}, "expected two learning rates above 0 and below 1"),
        ({"search": [0, 1e-3]}, "expected two learning rates above 0 and below 1"),
        ({"range": [1e-5, 1e-3]}, "a mapping is not right; expected the peak"),
        ("fast", "'fast' is not right; expected the peak learning rate of AdamW"),
        (2, "2 is not right; expected the peak learning rate of AdamW"),
    ],
)
def test_a_range_that_is_none_is_one_line(
    tmp_path: Path, study: dict[str, Any], value: Any, said: str
) -> None:
    study["methods"]["lora"]["learning_rate"] = value
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(study))
    with pytest.raises(UserError) as error:
        params.load(path)
    assert "methods.lora.learning_rate: " in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"trials": 2}, "search.trials: 2 is not right; expected at least 3: Learning rates tried"),
        ({"seeds": [7]}, "search.seeds: a list is not right; expected at least two: Each rate"),
        ({"seeds": [7, 7]}, "search.seeds: a seed stands twice in [7, 7]"),
        ({"seeds": [7, 1]}, "search: seeds: 1 is a seed of the study, too; expected others"),
        ({"epochs": 0}, "search.epochs: 0 is not right; expected at least 1"),
        ({"trails": 3}, "search.trails: unknown key; did you mean 'trials'?"),
    ],
)
def test_a_section_that_is_not_right_is_one_line(
    tmp_path: Path, study: dict[str, Any], section: dict[str, Any], said: str
) -> None:
    study["search"] |= section
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(study))
    with pytest.raises(UserError) as error:
        params.load(path)
    assert said in str(error.value)


@pytest.fixture
def study() -> dict[str, Any]:
    """Return the content of a parameter file."""
    import copy

    from tests import tiny

    return copy.deepcopy(tiny.STUDY)


def test_a_trial_that_has_no_field_of_this_version_is_not_read(tmp_path: Path) -> None:
    from fairtune.search import store

    trial = Trial(
        rate=1e-3,
        seed=1,
        round=0,
        accuracy=[0.5],
        loss=[0.7],
        confusion=[[1, 1], [1, 1]],
        steps=3,
        seconds=1.0,
    )
    path = tmp_path / "trial.json"
    assert store.read(path) is None
    store.write(path, store.Kept(trial=trial, at_once=2, device="cpu"))
    found = store.read(path)
    assert found is not None
    assert found.trial == trial
    path.write_text(path.read_text().replace('"steps"', '"strides"'))
    assert store.read(path) is None

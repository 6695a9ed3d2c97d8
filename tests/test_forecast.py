"""The time left: right within a fifth after a tenth of a training, whatever the order of its steps.

The costs are those of real lengths; how long a step truly takes is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from fairtune.core import terminal
from fairtune.core.forecast import Forecast

LENGTHS = np.clip(np.random.default_rng(0).lognormal(5.4, 0.55, 400), 40, 512)
"""Padded lengths of batches, spread as IMDb's reviews are."""
ORDERS: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "as dealt": list,
    "longest first": lambda costs: sorted(costs, reverse=True),
    "shortest first": sorted,
}


def foreseen(
    costs: Sequence[float], seconds: Sequence[float], *, every: int = 1, pauses: int = 0
) -> tuple[float, float]:
    """Return the time left that is told after a tenth of the steps, and the true one.

    Args:
        costs: of the steps.
        seconds: that each takes.
        every: steps between two looks at the clock.
        pauses: validations, each of a tenth of the steps' cost, which take a tenth of their time.
    """
    made = Forecast(costs, [sum(costs) / 10] * pauses)
    now = 0.0
    tenth = len(costs) // 10
    for done in range(1, tenth + 1):
        now += seconds[done - 1]
        if done == 1 or done % every == 0:
            made.step_done(done, now)
    left = made.left()
    assert left is not None
    return left, sum(seconds[tenth:]) + pauses * sum(seconds) / 10


@pytest.mark.parametrize("own", [0.0, 0.3, 3.0, 100.0], ids="own {}".format)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("every", [1, 10])
def test_after_a_tenth_the_time_left_is_told_whatever_the_order(
    order: str, own: float, every: int
) -> None:
    costs = ORDERS[order](LENGTHS.tolist())
    mean = sum(costs) / len(costs)
    seconds = [cost / mean + own for cost in costs]
    seconds[0] += 20.0  # libraries and memory
    left, truth = foreseen(costs, seconds, every=every, pauses=3)
    assert left == pytest.approx(truth, rel=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_a_clock_that_is_not_steady_changes_little(seed: int) -> None:
    generator = np.random.default_rng(seed)
    costs = generator.permutation(LENGTHS)
    seconds = (costs / costs.mean() + 0.2) * generator.lognormal(0.0, 0.2, len(costs))
    left, truth = foreseen(costs.tolist(), seconds.tolist(), pauses=3)
    assert left == pytest.approx(truth, rel=0.2)


def test_counting_steps_alone_would_be_wrong() -> None:
    costs = ORDERS["longest first"](LENGTHS.tolist())
    left, truth = foreseen([1.0] * len(costs), costs)
    assert left > 1.5 * truth


def test_batches_of_one_cost_are_told_by_their_number() -> None:
    left, truth = foreseen([5.0] * 50, [3.0] * 50)
    assert left == pytest.approx(truth) == 135.0


def test_the_first_step_tells_nothing() -> None:
    made = Forecast([1.0, 1.0, 1.0])
    assert made.left() is None
    made.step_done(1, 90.0)
    assert made.left() is None
    made.step_done(2, 92.0)
    assert made.left() == pytest.approx(2.0)
    made.step_done(3, 94.0)
    assert made.left() == 0.0


def test_a_step_told_twice_counts_once() -> None:
    made = Forecast([1.0] * 4)
    made.step_done(1, 1.0)
    for _ in range(2):
        made.step_done(2, 3.0)
    assert made.left() == pytest.approx(4.0)


def test_pauses_are_foreseen_by_their_cost_and_then_by_those_that_were() -> None:
    made = Forecast([1.0] * 4, [2.0, 2.0])
    made.step_done(1, 5.0)
    made.step_done(2, 6.0)
    assert made.left() == pytest.approx(2 + 2 * 2)
    assert made.share == pytest.approx(2 / 8)
    made.pause_done(7.0)
    assert made.left() == pytest.approx(2 + 7)
    assert made.share == pytest.approx(4 / 8)
    made.step_done(4, 8.0)
    made.pause_done(7.0)
    assert made.left() == 0.0
    assert made.share == 1.0


def test_the_bar_shows_steps_loss_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "at_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    bar = terminal.StepProgress("lora 42", Forecast([1.0, 1.0, 3.0], [1.0]))
    bar.start()
    for step, seconds, loss in ((1, 40.0, None), (2, 100.0, 0.25)):
        bar.step_done(step, seconds, loss)
    bar.stop()
    last = capsys.readouterr().err.splitlines()[-1]
    assert "lora 42" in last
    assert "2/3" in last
    assert "loss 0.2500" in last
    # 60 s a unit of cost, of which three are left, and one of validation.
    assert last.rstrip().endswith("left 0:04:00")


def test_where_nobody_watches_nothing_is_drawn_or_worked_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = Forecast([1.0, 1.0])
    bar = terminal.StepProgress("m", made)
    bar.start()
    bar.step_done(2, 1.0, 0.5)
    bar.pause_done(1.0)
    bar.stop()
    assert capsys.readouterr().err == ""
    assert made.done == 0

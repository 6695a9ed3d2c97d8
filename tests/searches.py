"""Hand-made searches of learning rates for tests.

make_trial(1e-4, 7, right=180)                       # of 200 validation rows of two classes
make_trials({1e-4: (180, 182), 1e-3: (190, 188)})    # rate -> right rows with each seed
make_search("lora", {1e-4: (180, 182), ...})         # complete, with the choice of the rule
make_searches(runs)                                  # one for each method, of six rates
with_rates(runs, searches)                           # the runs, trained with the rates chosen
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fairtune.analysis.rates import choose, collapsed
from fairtune.core.sections import RateRule
from fairtune.runs.record import Run
from fairtune.runs.search import Search, Trial

ROWS, SEEDS, STEPS = 200, (1001, 1002), 90
COLLAPSED = None
"""In place of right rows: the trial names the first class alone."""
Right = Mapping[float, Sequence[int | None]]
CURVES = {
    "full": (1e-5, (0.80, 0.86, 0.92, 0.93, 0.70, COLLAPSED)),
    "lora": (1e-4, (0.85, 0.915, 0.93, 0.93, 0.925, 0.88)),
    "qlora": (1e-4, (0.84, 0.905, 0.92, 0.925, 0.90, 0.60)),
    "ia3": (1e-3, (0.70, 0.80, 0.86, 0.89, 0.91, 0.915)),
}
"""Lowest rate, and the share of right rows at each of six over two decades."""


def make_trial(
    rate: float, seed: int, *, right: int | None, epochs: int = 3, steps: int = STEPS
) -> Trial:
    """Return a trial with so many of its 200 validation rows right, half of them of each class."""
    half = ROWS // 2
    if right is None:
        confusion = [[half, 0], [half, 0]]
    else:
        of_first = right // 2
        of_second = right - of_first
        confusion = [[of_first, half - of_first], [half - of_second, of_second]]
    share = (confusion[0][0] + confusion[1][1]) / ROWS
    return Trial(
        rate=rate, seed=seed, round=0, accuracy=[share] * epochs, loss=[0.4] * epochs,
        confusion=confusion, steps=steps, seconds=30.0,
    )  # fmt: skip


def make_trials(
    right: Right, *, seeds: Sequence[int] = SEEDS, epochs: int = 3, steps: int = STEPS
) -> list[Trial]:
    """Return trials of each rate with each seed."""
    return [
        make_trial(rate, seed, right=rows, epochs=epochs, steps=steps)
        for rate, of_rate in right.items()
        for seed, rows in zip(seeds, of_rate, strict=True)
    ]


def make_search(
    method: str,
    right: Right,
    *,
    seeds: Sequence[int] = SEEDS,
    epochs: int = 3,
    steps: int = STEPS,
    extensions: int = 0,
    metric: str = "accuracy",
    rule: RateRule = "lowest",
) -> Search:
    """Return a complete search, chosen by the rule."""
    trials = make_trials(right, seeds=seeds, epochs=epochs, steps=steps)
    choice = choose(trials, metric, rule)
    ends = (choice.tried[0].rate, choice.tried[-1].rate)
    return Search(
        method=method, metric=metric, rule=rule, asked=ends, range=ends, extensions=extensions,
        trials_per_range=len(right), seeds=list(seeds), epochs=epochs, trials=trials,
        collapsed=sorted((trial.rate, trial.seed) for trial in trials if collapsed(trial)),
        best=choice.best.rate, standard_error=round(choice.standard_error, 6),
        learning_rate=choice.chosen.rate, on_edge=choice.edge is not None, seconds=240.0,
        at_once=4, device="NVIDIA H200",
    )  # fmt: skip


def make_searches(methods: Sequence[str], *, metric: str = "accuracy") -> dict[str, Search]:
    """Return a search of six rates over two decades for each method; unknown names get LoRA's."""
    made = {}
    for method in methods:
        lowest, shares = CURVES.get(method, CURVES["lora"])
        right: dict[float, Sequence[int | None]] = {}
        for place, share in enumerate(shares):
            rate = float(f"{lowest * 10 ** (place * 0.4):.3g}")
            rows = None if share is None else round(share * ROWS)
            right[rate] = (rows, None if rows is None else rows - 2)
        made[method] = make_search(method, right, metric=metric)
    return made


def with_rates(
    runs: Mapping[str, Sequence[Run]], searches: Mapping[str, Search]
) -> dict[str, list[Run]]:
    """Return the study as it is where the searched methods were trained with the chosen rates."""
    made = {}
    for method, of_method in runs.items():
        made[method] = list(of_method)
        if method in searches:
            made[method] = [_with_rate(run, searches[method].learning_rate) for run in of_method]
    return made


def _with_rate(run: Run, rate: float) -> Run:
    block = {**run.record.parameters["method"], "learning_rate": rate}
    parameters = {**run.record.parameters, "method": block}
    return replace(run, record=run.record.model_copy(update={"parameters": parameters}))

"""Choose the rates of all methods, and extend all ranges where a best rate lies on an edge.

All methods are extended by equally many rates as soon as one is: on the side of its best rate where
that lies on an edge, else on the side that its best rate is nearer to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairtune.analysis.rates import RateChoice, choose, collapsed
from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.params import Params
from fairtune.runs.search import Search, Trials
from fairtune.runs.token_cache import Encoded
from fairtune.search import grid, run

MOST_EXTENSIONS = 2


def read_trials(name: str) -> Trials:
    """Read the trials that the stage `search` ran of a method.

    Raises:
        UserError: they are not there.
    """
    path = paths.SEARCH / f"{name}.json"
    content = read_json(path, made_by=f"search@{name}")
    try:
        return Trials.model_validate(content)
    except ValueError as error:
        raise UserError(f"{path}: not what this version writes; run `dvc repro rates`") from error


def searched(study: Params) -> dict[str, Search]:
    """Return the searches of all methods that search, their ranges extended where need be.

    Raises:
        UserError: a trial cannot be run, or no rate of a method learned anything.
    """
    names = [name for name, block in study.methods.items() if block.searched]
    parts = {name: [read_trials(name)] for name in names}
    choices = {name: chosen(study, parts[name]) for name in names}
    refuse_what_learned_nothing(choices)
    rounds, rows = 0, None
    while (
        study.search.extend
        and rounds < MOST_EXTENSIONS
        and any(choice.edge for choice in choices.values())
    ):
        rounds += 1
        rows = rows or run.read_rows()
        for name in names:
            parts[name].append(extended(study, name, choices[name], rows, round_=rounds))
        choices = {name: chosen(study, parts[name]) for name in names}
    return {name: summed(study, name, parts[name], choices[name], rounds) for name in names}


def chosen(study: Params, parts: list[Trials]) -> RateChoice:
    """Return the choice among all trials of a method so far."""
    trials = [trial for part in parts for trial in part.trials]
    return choose(trials, study.compare.metric, study.search.rule)


def extended(
    study: Params,
    name: str,
    choice: RateChoice,
    rows: tuple[Mapping[str, Encoded], Mapping[str, Any]],
    *,
    round_: int,
) -> Trials:
    """Run the trials by which a method's range is extended, on the rows that trials look at."""
    asked = study.method(name).searched
    assert asked is not None
    tried = [one.rate for one in choice.tried]
    side: Any = choice.edge or grid.nearer_side(tried, choice.best.rate)
    more = grid.extension(
        tried, low=asked.low, high=asked.high, trials=study.search.trials, side=side
    )
    splits, manifest = rows
    return run.run_trials(study, name, more, splits=splits, manifest=manifest, round_=round_)


def refuse_what_learned_nothing(choices: Mapping[str, RateChoice]) -> None:
    """Refuse a search in which no rate of a method learned anything.

    Raises:
        UserError: names the method and its range.
    """
    for name, choice in choices.items():
        if not choice.learned:
            tried = [one.rate for one in choice.tried]
            raise UserError(
                f"methods.{name}.learning_rate: none of {len(tried)} rates from {tried[0]:g} to "
                f"{tried[-1]:g} learned anything that shows on the validation rows; search "
                "elsewhere, or give it more epochs, rows to train on or rows to validate on"
            )


def summed(
    study: Params, name: str, parts: list[Trials], choice: RateChoice, rounds: int
) -> Search:
    """Return a method's search, complete."""
    trials = sorted(
        (trial for part in parts for trial in part.trials),
        key=lambda trial: (trial.round, trial.rate, trial.seed),
    )
    return Search(
        method=name,
        metric=study.compare.metric,
        rule=study.search.rule,
        asked=parts[0].asked,
        range=(choice.tried[0].rate, choice.tried[-1].rate),
        extensions=rounds,
        trials_per_range=study.search.trials,
        seeds=study.search.seeds,
        epochs=parts[0].epochs,
        trials=trials,
        collapsed=[(trial.rate, trial.seed) for trial in trials if collapsed(trial)],
        best=choice.best.rate,
        standard_error=round(choice.standard_error, 6),
        learning_rate=choice.chosen.rate,
        on_edge=choice.edge is not None,
        seconds=round(sum(part.seconds for part in parts), 1),
        at_once=max(part.at_once for part in parts),
        device=parts[0].device,
    )

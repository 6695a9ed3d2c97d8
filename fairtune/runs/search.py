"""What a search of learning rates leaves behind: every trial, and the rate that was chosen.

A trial is a training at one rate with one seed that is looked at on validation rows alone. The
stage `search` writes those of the range that a method asks for; the stage `rates` adds those of its
extensions and the choice; `record` puts the whole in `runs/<method>/search.json`, which Git keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.paths import SEARCH_FILE, run_folder_of
from fairtune.core.sections import RateRule
from fairtune.runs.part import Part

SCHEMA = 1


class Trial(Part):
    """One training at one rate with one seed, validated after each epoch."""

    rate: float
    """Peak learning rate."""
    seed: int
    round: int
    """0: of the range asked for; 1 and 2: of its extensions."""
    accuracy: list[float]
    """Share of the validation rows predicted right after each epoch."""
    loss: list[float | None]
    """Mean cross-entropy of the validation rows after each epoch, in nats; None where the training
    no longer gave numbers."""
    confusion: list[list[int]]
    """Validation rows by true class (rows) and predicted class (columns) after the last epoch."""
    steps: int
    """Optimizer steps of the trial."""
    seconds: float
    """Wall-clock from start to end, beside other trials on the same device: no measure of the
    method's speed."""
    diverged: str = ""
    """Where the training no longer gave numbers: what it said. It counts as naming the class that
    is first in number."""


class Trials(Part):
    """What one stage's trials of one method were, and what they took."""

    method: str
    asked: tuple[float, float]
    """The range that the method asks for."""
    epochs: int
    """Passes over the training rows in each trial."""
    seconds: float
    """Wall-clock of all trials together."""
    at_once: int
    """Trials that ran beside one another, at most."""
    device: str
    """Name of the processor or GPU; empty where no trial was run."""
    trials: list[Trial]


class Search(Part):
    """The search of one method, complete: what was tried, by which rule, and what came of it."""

    schema_version: int = SCHEMA
    method: str
    metric: str
    """The score that the rule went by, on validation rows, after the last epoch."""
    rule: RateRule = "lowest"
    """What is taken of the rates within one standard error of the best."""
    asked: tuple[float, float]
    """The range that the method asked for."""
    range: tuple[float, float]
    """The range in the end, extensions included."""
    extensions: int
    """How often the ranges of all methods were extended."""
    trials_per_range: int
    seeds: list[int]
    epochs: int
    trials: list[Trial]
    """All of them, by round, rate and seed."""
    collapsed: list[tuple[float, int]]
    """Rate and seed of the trials that learned nothing that shows."""
    best: float
    """The rate of the highest mean score."""
    standard_error: float
    """Of a rate's mean score over the seeds."""
    learning_rate: float
    """The rate that the rule takes of those within one standard error of the best."""
    on_edge: bool
    """Whether the best still lies on an edge of the range."""
    seconds: float
    """Wall-clock of all its trials."""
    at_once: int
    """Trials that ran beside one another, at most."""
    device: str


Searches = dict[str, Search]
"""By method, of those that searched."""


def read_search(method: str) -> Search | None:
    """Read the search of one method from the workspace, None where its rate was given.

    Raises:
        UserError: the file is not what this version writes.
    """
    path = run_folder_of(method) / SEARCH_FILE
    if not path.is_file():
        return None
    remedy = f"-s record@{method}"
    return parse_search(read_json(path, made_by=remedy), path=path)


def read_searches(methods: Iterable[str]) -> Searches:
    """Read the searches of those of the methods that searched.

    Raises:
        UserError: a file is not what this version writes.
    """
    found = {method: read_search(method) for method in methods}
    return {method: search for method, search in found.items() if search is not None}


def parse_search(content: Any, *, path: Path) -> Search:
    """Return a search of what its file holds.

    Raises:
        UserError: it does not hold what this version writes.
    """
    try:
        return Search.model_validate(content)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(
            f"{path}: {key} is not what this version writes; run `dvc repro rates`"
        ) from error

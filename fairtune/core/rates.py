"""The learning rate of a method, given in the parameters or chosen by the stage `rates`."""

from __future__ import annotations

from pathlib import Path

from fairtune.core.errors import UserError
from fairtune.core.files import read_json, write_json
from fairtune.core.params import Params
from fairtune.core.paths import RATE_FILE, RATES

KEY = "learning_rate"


def write(folder: Path, rate: float) -> None:
    """Write a method's rate, and nothing that could change while it does not."""
    write_json(folder / RATE_FILE, {KEY: rate})


def settled(study: Params, name: str) -> Params:
    """Return the study with a number for the learning rate of a method.

    Raises:
        UserError: its rate is to be searched, and has not been.
    """
    if study.method(name).searched is None:
        return study
    path = RATES / name / RATE_FILE
    found = read_json(path, made_by="rates")
    rate = found.get(KEY) if isinstance(found, dict) else None
    if not isinstance(rate, float):
        raise UserError(f"{path}: holds no {KEY}; run `dvc repro --force rates`")
    return study.with_rate(name, rate)

"""Read ``params.yaml``: typed, validated, each error in one line that names the key.

This is the only module that reads the file. One class is one section; one field is one key, its
meaning and unit in the line below it. Data, model and training stand in `fairtune.core.sections`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fairtune.core.errors import UserError, did_you_mean, one_line
from fairtune.core.explain import explain
from fairtune.core.method import METHOD_NAME, Method
from fairtune.core.paths import PARAMS
from fairtune.core.sections import (
    Count,
    Data,
    Encode,
    Model,
    Search,
    Section,
    Seed,
    Subset,
    Train,
)

__all__ = [
    "Compare",
    "Data",
    "Encode",
    "Model",
    "Params",
    "Report",
    "Search",
    "Subset",
    "Train",
    "load",
]

Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Compare(Section):
    """How the methods are set side by side."""

    metric: Literal["accuracy", "macro_f1", "balanced_accuracy", "matthews"] = "accuracy"
    """What verdicts, ranks, recommendation and charts go by."""
    margin: float = Field(default=0.01, gt=0.0, lt=0.5)
    """Difference in the metric below which two methods count as equivalent, and that a
    recommended method may lose against the best."""
    resamples: int = Field(default=10_000, ge=1_000)
    """Bootstrap resamples that the intervals of all pairs rest on."""
    plausible: float = Field(default=0.2, gt=0.05, lt=1.0)
    """Where no method is proved to be good enough: up to which p that it is not the cheapest is
    recommended provisionally."""
    looks: list[Count] = Field(default_factory=list)
    """Numbers of seeds at which a growing study is looked at, the most last; empty for one look.
    Each look costs a part of the level (`python -m fairtune.settle` plans them)."""
    allow_mixed_devices: bool = False
    """Whether runs may be of devices of several kinds. Their times and memory are then not
    compared: all costs but counts are null."""
    palette: list[Color] = Field(min_length=1)
    """Colours of the methods, in their order; used again from the start when they run out."""

    @field_validator("looks")
    @classmethod
    def _looks_grow(cls, looks: list[int]) -> list[int]:
        if any(late <= early for early, late in pairwise(looks)):
            raise ValueError(f"{looks} is not right; expected growing numbers, such as [3, 5, 10]")
        return looks


class Report(Section):
    """The title block of the report."""

    title: str = Field(min_length=1)
    """Title of the paper."""
    author: str = Field(min_length=1)
    """Author or team."""
    affiliation: str = ""
    """Where the author works; may stay empty."""


class Params(Section):
    """The whole file."""

    data: Data
    subset: Subset
    model: Model
    encode: Encode
    train: Train
    seeds: list[Seed] = Field(min_length=1)
    """One training of each method for each seed."""
    search: Search
    """How learning rates are searched, where a method asks for it."""
    methods: dict[str, Method] = Field(min_length=1)
    """The methods compared, by name."""
    compare: Compare
    report: Report

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed stands twice in {seeds}; each must differ")
        return seeds

    @field_validator("search")
    @classmethod
    def _seeds_are_fresh(cls, search: Search, info: ValidationInfo) -> Search:
        both = set(search.seeds) & set(info.data.get("seeds") or ())
        if both:
            raise ValueError(
                f"seeds: {min(both)} is a seed of the study, too; expected others, so that the "
                "study's trainings are not those that the rates were chosen by"
            )
        return search

    @field_validator("compare")
    @classmethod
    def _a_look_is_planned(cls, compare: Compare, info: ValidationInfo) -> Compare:
        looks, seeds = compare.looks, info.data.get("seeds")
        if looks and seeds and len(seeds) not in looks:
            said = ", ".join(map(str, looks))
            raise ValueError(
                f"looks are planned at {said} seeds, and seeds has {len(seeds)}; run as many, or "
                "empty compare.looks"
            )
        return compare

    @field_validator("methods")
    @classmethod
    def _names_fit(cls, methods: dict[str, Method]) -> dict[str, Method]:
        for name in methods:
            if not METHOD_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot name a method; use small letters, digits and '_'"
                )
        return methods

    def method(self, name: str) -> Method:
        """Return the block of one method.

        Raises:
            UserError: the file has no such method.
        """
        if name not in self.methods:
            raise UserError(f"no method '{name}' under methods; {did_you_mean(name, self.methods)}")
        return self.methods[name]

    def with_rate(self, name: str, rate: float) -> Params:
        """Return the study with this learning rate for one of its methods."""
        block = self.method(name).model_copy(update={"learning_rate": rate})
        return self.model_copy(update={"methods": {**self.methods, name: block}})


def load(path: Path = PARAMS) -> Params:
    """Read and validate a parameter file.

    Raises:
        UserError: the file is missing, is not YAML or has a key or value that is not right.
    """
    document = _read(path)
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected sections such as data, subset and methods; found none")
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error.errors(), document, Params)}") from None


def _read(path: Path) -> Any:
    """Return the file's content: YAML 1.2, in which 1e-4 is a number."""
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; copy a preset, such as studies/embedded.yaml"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or one_line(error)
        raise UserError(f"{line}: not valid YAML: {problem}") from None

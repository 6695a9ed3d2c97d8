"""What a method is: a block of the parameters, and no code."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fairtune.core.errors import UserError
from fairtune.core.explain import shown

Role = Literal["query", "key", "value", "attention_output", "feedforward_in", "feedforward_out"]
Roles = Annotated[list[Role], Field(min_length=1)]
METHOD_NAME = re.compile(r"[a-z][a-z0-9_]*")


HIGHEST_RATE = 1.0
RATE_OR_RANGE = (
    "expected the peak learning rate of AdamW, above 0 and below 1, or {search: [LOWEST, HIGHEST]}"
)


class RateRange(BaseModel):
    """The learning rates among which the stages `search` and `rates` choose."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    search: tuple[float, float]
    """The lowest and the highest rate."""

    @property
    def low(self) -> float:
        """The lowest rate."""
        return self.search[0]

    @property
    def high(self) -> float:
        """The highest rate."""
        return self.search[1]


def _rate_or_range(value: Any) -> Any:
    """Return a rate as a number, or the range to search, as YAML gives them.

    Raises:
        ValueError: it is neither; in place of pydantic's answers to each of the two.
    """
    if _is_rate(value):
        return float(value)
    if not isinstance(value, dict):
        unquoted = ", a number without quotes" if isinstance(value, str) else ""
        raise ValueError(f"{shown(value)} is not right; {RATE_OR_RANGE}{unquoted}")
    if list(value) != ["search"]:
        raise ValueError(f"{shown(value)} is not right; {RATE_OR_RANGE}")
    ends = value["search"]
    if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(map(_is_rate, ends)):
        raise ValueError(
            f"search: {ends!r} is not right; expected two learning rates above 0 and below 1, "
            "the lowest first, such as [1e-5, 1e-3]"
        )
    low, high = map(float, ends)
    if low == high:
        raise ValueError(
            f"search: [{low:g}, {high:g}] holds one rate; expected a range, or the rate alone: "
            f"learning_rate: {low:g}"
        )
    if low > high:
        raise ValueError(
            f"search: [{low:g}, {high:g}] is upside down; expected [{high:g}, {low:g}]"
        )
    return {"search": (low, high)}


def _is_rate(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0.0 < value < HIGHEST_RATE


class Method(BaseModel):
    """One way of fine-tuning: how frozen weights are stored, and what is trained.

    Keys beyond the fields go to the adapter's PEFT configuration as they are.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    learning_rate: Annotated[float | RateRange, BeforeValidator(_rate_or_range)]
    """Peak learning rate of AdamW, or the range to search it in."""
    quantize: Literal["nf4", "fp4"] | None = None
    """Store the frozen weights in 4 bits of this type, doubly quantised; null keeps them in
    the precision of the training."""
    adapter: str | None = None
    """PEFT method to train (lora, ia3, vera, ...); null trains the whole model."""
    targets: Roles | None = None
    """Roles of the modules to adapt; null leaves the choice to PEFT or to `target_modules`."""
    feedforward: Roles | None = None
    """Roles whose input is scaled in place of the output, for adapters that tell them apart."""

    @property
    def searched(self) -> RateRange | None:
        """The range in which its rate is searched; None where the rate is given."""
        return self.learning_rate if isinstance(self.learning_rate, RateRange) else None

    @property
    def rate(self) -> float:
        """Its learning rate.

        Raises:
            UserError: it has not been searched yet.
        """
        if isinstance(self.learning_rate, RateRange):
            raise UserError(
                "a learning rate is to be searched first: run `dvc repro rates`, or give a number"
            )
        return self.learning_rate

    @property
    def any_rate(self) -> float:
        """A rate at which it trains, for figures that no rate changes, such as time and memory."""
        return self.searched.low if self.searched else self.rate

    @property
    def keywords(self) -> dict[str, Any]:
        """The keys that go to PEFT's configuration."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _check_axes(self) -> Self:
        if self.adapter is None and self.quantize is not None:
            raise ValueError(
                f"quantize: {self.quantize} needs an adapter: 4-bit weights cannot be trained"
            )
        extra = [*self.keywords, *(k for k in ("targets", "feedforward") if getattr(self, k))]
        if self.adapter is None and extra:
            raise ValueError(
                f"unknown key '{extra[0]}' for a method without an adapter; "
                "set 'adapter' or drop the key"
            )
        if self.targets and "target_modules" in self.keywords:
            raise ValueError("give 'targets' (roles) or 'target_modules' (PEFT's names), not both")
        for key, value in self.keywords.items():
            # The run record holds every parameter: a date, say, would only fail there, once the
            # training is over.
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise ValueError(
                    f"{key}: {value!r} is neither text, a finite number, true, false, null nor a "
                    "list or mapping of these"
                ) from None
        return self

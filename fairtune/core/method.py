"""What a method is: a block of the parameters, and no code."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Role = Literal["query", "key", "value", "attention_output", "feedforward_in", "feedforward_out"]
Roles = Annotated[list[Role], Field(min_length=1)]
METHOD_NAME = re.compile(r"[a-z][a-z0-9_]*")


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

    learning_rate: float = Field(gt=0.0, lt=1.0)
    """Peak learning rate of AdamW."""
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

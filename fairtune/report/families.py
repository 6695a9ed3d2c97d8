"""How much slower a plain Trainer is than fairtune's loop, as benchmarks/families.json has it.

The file holds the throughput of both by device, family of models and kind of method.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairtune.core.errors import UserError
from fairtune.core.method import Method

FACTORS = Path("benchmarks/families.json")
KINDS = {
    (None, False): "full",
    ("lora", False): "lora",
    ("lora", True): "qlora",
    ("ia3", False): "ia3",
}
"""Adapter, and whether the frozen weights are in 4 bits -> the name in the file."""


class Factor(BaseModel):
    """The throughput of a plain Trainer with stock PEFT, and of fairtune's loop; rows a second."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    device: str
    """Name of the GPU or processor."""
    type: str
    """cuda or cpu."""
    family: str
    """Of the model, as Transformers names it."""
    method: str
    """Kind of method: full, lora, qlora or ia3."""
    plain_samples_per_second: float | None = Field(gt=0)
    """Of the plain Trainer; null where it does not train."""
    fair_samples_per_second: float | None = Field(gt=0)
    """Of fairtune's loop."""
    captured_share: float | None = None
    """Share of fairtune's steps that were replayed as CUDA graphs."""
    note: str = ""
    """Why a figure is null."""

    @property
    def times(self) -> float | None:
        """How many times as long a plain Trainer takes for the same rows."""
        if self.plain_samples_per_second is None or self.fair_samples_per_second is None:
            return None
        return self.fair_samples_per_second / self.plain_samples_per_second


class Factors(BaseModel):
    """The content of benchmarks/families.json."""

    results: list[Factor]


def read_factors(path: Path = FACTORS) -> list[Factor]:
    """Read what the benchmark measured.

    Raises:
        UserError: the file is missing or is not what the benchmark writes.
    """
    try:
        return Factors.model_validate(json.loads(path.read_text(encoding="utf-8"))).results
    except FileNotFoundError:
        raise UserError(f"{path}: not found; restore it from git") from None
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(
            f"{path}: {key or 'the whole'}: {error.errors()[0]['msg']}; restore it from git"
        ) from None
    except ValueError:
        raise UserError(f"{path}: not valid JSON; restore it from git") from None


def kind(block: Method) -> str | None:
    """Return the kind of a method as the benchmark names it; None for one that it does not know."""
    if block.keywords.get("use_dora"):
        return None
    adapter = None if block.adapter is None else block.adapter.lower()
    return KINDS.get((adapter, block.quantize is not None))

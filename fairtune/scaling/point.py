"""What a point of the scaling sweep varies, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OWN = "own"
"""Name of the study's own encoder among those of the sweep."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a point varies."""

    rows: int
    max_length: int
    batch_size: int
    encoder: str = OWN
    """Name of one of the encoders that `fairtune.scaling.encoders` lists."""

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_size * self.max_length


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder of the sweep, as far as the sweep itself needs to know it."""

    name: str
    parameters: int
    """Of the encoder, without the head."""
    outputs: int
    """Outputs of all linear layers of the encoder together: numbers that one token leaves there."""
    longest: int
    """Tokens that it has positions for."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the sweep runs, and which encoders it has there, the study's own first."""

    type: str
    """cpu, cuda or mps."""
    name: str
    precision: str
    encoders: list[Encoder]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a point took."""

    pass_seconds: float
    """Of all steps of one pass over the rows, as the meter has it."""
    step_seconds: float
    """Median of the steps after the first."""
    memory: Mapping[str, float | None]
    """Peak in MiB by counter of `fairtune.runs.record.Memory`."""
    held_mib: float
    """Weights, gradients and AdamW's moments, from the model's own parameters and dtypes."""
    captured: float
    """Share of the steps that were replayed as CUDA graphs."""
    eager: str
    """Why the other steps were not."""

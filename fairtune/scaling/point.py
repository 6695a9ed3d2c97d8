"""What a point of the scaling sweep varies, and what it took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a point varies."""

    rows: int
    max_length: int
    batch_size: int
    width: int
    """Factor on the encoder's own width."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a point took."""

    seconds: float
    """Of one step, or of all steps of a pass where rows are varied."""
    memory_mib: float
    """Peak allocated on the GPU, or without one the peak resident memory of the process."""

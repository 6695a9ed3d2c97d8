"""How a figure is printed."""

from __future__ import annotations


def decimals(value: float) -> int:
    """Return the decimals that leave about three figures."""
    return 0 if value >= 100 else 1 if value >= 10 else 2


def percent(share: float, *, digits: int = 1) -> str:
    """Return a share as printed: 0.934 is '93.4%'."""
    return f"{100 * share:.{digits}f}%"

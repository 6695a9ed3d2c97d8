"""How a figure is printed: once, so that charts, tables and prose never show two forms of it."""

from __future__ import annotations

MINUS = "−"
NOT_MEASURED = "n/a"
"""Stands for a figure that was not measured; 0 would look like a free lunch."""


def number(value: float, *, digits: int = 0) -> str:
    """Return a number with separators and a true minus sign; zero has no sign."""
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(share: float) -> str:
    """Return a share as an accuracy is printed: 0.934 is '93.4%'."""
    return f"{number(100 * share, digits=1)}%"


def points(share: float) -> str:
    """Return a difference of shares: 0.004 is '0.4 points'; the sign is left out."""
    return f"{number(abs(100 * share), digits=1)} points"


def interval(low: float, high: float) -> str:
    """Return an interval of a difference in points, with its signs."""
    return f"[{number(100 * low, digits=1)}, {number(100 * high, digits=1)}]"


def seconds(value: float) -> str:
    """Return a duration in about three figures."""
    return f"{number(value, digits=decimals(value))} s"


def mebibytes(value: float) -> str:
    """Return an amount of memory; small ones keep two decimals."""
    return f"{number(value, digits=0 if value >= 10 else 2)} MiB"


def rate(value: float) -> str:
    """Return a learning rate in three figures at most: 0.0014 is '1.4e-3'."""
    digits, power = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def decimals(value: float) -> int:
    """Return the decimals that leave about three figures."""
    return 0 if value >= 100 else 1 if value >= 10 else 2


def p_value(p: float) -> str:
    """Return a p-value: 'p = 0.031' or 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {number(p, digits=3)}"

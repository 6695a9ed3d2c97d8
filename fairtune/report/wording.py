"""How numbers and lists are written in prose: one place, so that a figure never has two forms.

Method names are set in backticks, the only markup: the paper turns them into italics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MINUS, DASH = "−", "–"
NONE = "—"
"""Stands in a table for what was not measured or does not apply."""
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ROMAN = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def number(value: float, *, digits: int = 0) -> str:
    """Return a number with separators and a true minus sign; zero has no sign."""
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def count(value: int, noun: str, plural: str = "") -> str:
    """Return a small count in words: 'one seed', 'three seeds', '12 seeds'."""
    said = WORDS[value] if value < len(WORDS) else number(value)
    return f"{said} {noun}" if value == 1 else f"{said} {plural or noun + 's'}"


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


def decimals(value: float) -> int:
    """Return the decimals that leave about three figures."""
    return 0 if value >= 100 else 1 if value >= 10 else 2


def p_value(p: float) -> str:
    """Return a p-value: 'p = 0.031' or 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {number(p, digits=3)}"


def relative(value: float, base: float) -> str:
    """Return how much less or more one figure is than another: '42% less', '3% more'.

    Beyond twice as much, a factor is easier to read: '3.2 times as much'.
    """
    if value >= 2 * base:
        factor = value / base
        return f"{number(factor, digits=1 if factor < 10 else 0)} times as much"
    change = round(100 * (value / base - 1))
    if change == 0:
        return "about as much"
    return f"{abs(change)}% {'less' if change < 0 else 'more'}"


def method(name: str) -> str:
    """Return a method's name as prose marks it."""
    return f"`{name}`"


def listing(words: Iterable[str], *, last: str = "and") -> str:
    """Return 'a', 'a and b' or 'a, b and c'."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def methods(names: Sequence[str], *, last: str = "and") -> str:
    """Return method names as a list in prose."""
    return listing((method(name) for name in names), last=last)


def capital(sentence: str) -> str:
    """Return a sentence with a capital; a method's name keeps its own letters."""
    return sentence[:1].upper() + sentence[1:]


def setting(value: object) -> str:
    """Return a parameter's value as a table shows it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".") if abs(value) >= 1e-6 else f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {setting(item)}" for key, item in value.items())
    return str(value)


def plain(text: str) -> str:
    """Return a key as words: 'lora_alpha' is 'lora alpha'."""
    return text.replace("_", " ")

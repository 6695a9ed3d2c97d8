"""How counts, lists and names are written in prose; figures stand in `fairtune.analysis.formats`.

Prose has two marks. Method names stand in backticks: the paper turns them into italics. What comes
from outside (names of classes, models and devices, settings, messages) is put in by `literal`, and
comes out as it was written; `fairtune.report.markup` turns both into Typst and Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairtune.analysis.formats import number
from fairtune.charts.names import shown

BEGIN, END = "\ufdd0", "\ufdd1"
"""Stand around a literal text. They are no characters but Unicode's marks for such uses: `shown`
takes them out of what comes from outside."""
NONE = "—"
"""Stands in a table for what does not apply."""
MANY = 12
"""Classes that prose and tables name one by one; of more, only some or their number."""
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(value: int, noun: str, plural: str = "") -> str:
    """Return a small count in words: 'one seed', 'three seeds', '12 seeds'."""
    said = WORDS[value] if value < len(WORDS) else number(value)
    return f"{said} {noun}" if value == 1 else f"{said} {plural or noun + 's'}"


def relative(value: float, base: float) -> str:
    """Return how much less or more one figure is than another: '42% less', '3% more'.

    Beyond twice as much, a factor is easier to read: '3.2 times as much'. What was rounded to 0
    has none: 'more'.
    """
    if base == 0:
        return "more" if value else "about as much"
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


def literal(text: object) -> str:
    """Return a text from outside as prose holds it."""
    return f"{BEGIN}{shown(str(text))}{END}"


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
    """Return a parameter's value as prose and tables hold it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".") if abs(value) >= 1e-6 else f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{literal(key)} {setting(item)}" for key, item in value.items())
    return literal(value)


def plain(text: str) -> str:
    """Return a key as words: 'lora_alpha' is 'lora alpha'."""
    return text.replace("_", " ")

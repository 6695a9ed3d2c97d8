"""Numbers on a command line, refused in one line that says what would be right."""

from __future__ import annotations

from fairtune.core.errors import UserError


def number_of(
    option: str,
    text: str | None,
    low: float,
    high: float,
    example: str = "",
    *,
    whole: bool = False,
) -> float | None:
    """Return what an option was given: a whole number of a range, or a number between two.

    Raises:
        UserError: it is neither.
    """
    if text is None:
        return None
    try:
        value = float(int(text) if whole else text)
    except ValueError:
        value = float("nan")
    if whole and not low <= value <= high:
        raise UserError(
            f"{option}: {text} is not right; give a whole number from {low:g} to {high:g}"
        )
    if not whole and not low < value < high:
        raise UserError(
            f"{option}: {text} is not right; give a number between {low:g} and {high:g}, such as "
            f"{example}"
        )
    return value

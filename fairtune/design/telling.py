"""Sentences on what a study needs."""

from __future__ import annotations

from fairtune.analysis.components import Components
from fairtune.analysis.crossed import FEWEST_SEEDS
from fairtune.analysis.formats import number, percent
from fairtune.analysis.planning import MOST_ROWS, MOST_SEEDS, PairNeeded
from fairtune.design.outlook import Outlook


def sentences(found: Outlook) -> list[str]:
    """Return what is enough, whether seeds alone can do it, and what that asks of the user."""
    text = [*_choice(found)]
    text += [_pair(found, pair, of_pair) for pair, of_pair in found.pairs.items()]
    rows = [found.needed.rows, found.needed.both and found.needed.both[1]]
    rows += [one.rows or (one.both and one.both[1]) for one in found.pairs.values()]
    if any(many and many > found.test_rows for many in rows):
        text.append(
            f"More test rows than subset.test's {number(found.test_rows)} are an answer only "
            "where the corpus has them, which is yours to know."
        )
    return text


def _fewest(found: Outlook) -> int:
    return max(found.seeds, FEWEST_SEEDS)


def _choice(found: Outlook) -> list[str]:
    fewest, needed = _fewest(found), found.needed
    wanted = f"{100 * found.power:.0f} of 100"
    now = (
        f"With {fewest} seeds and {number(found.test_rows)} test rows the choice is settled in "
        f"{100 * found.settled:.0f} of 100 studies"
    )
    if needed.seeds == fewest:
        return [f"{now}: that is enough, where {wanted} are wanted."]
    text = [f"{now}; {wanted} are wanted."]
    by_rows = f"{number(needed.rows or 0)} test rows with {fewest} seeds are enough"
    if needed.seeds:
        too = f"; {by_rows}, too" if needed.rows else ""
        return [*text, f"Seeds alone can do it: {needed.seeds} are enough{too}."]
    alone = f"Seeds alone cannot do it, not even {MOST_SEEDS}"
    if needed.both:
        seeds, rows = needed.both
        return [*text, f"{alone}: {seeds} seeds with {number(rows)} test rows are enough."]
    if needed.rows:
        return [*text, f"{alone}: {by_rows}."]
    return [
        *text,
        f"{alone}; nor can {MOST_ROWS} times the test rows with {max(10, fewest)}: differences "
        "lie too close to the margin.",
    ]


def _pair(found: Outlook, pair: tuple[str, str], of_pair: PairNeeded) -> str:
    fewest = _fewest(found)
    now = f"{pair[0]} and {pair[1]}: decided in {100 * of_pair.decided:.0f} of 100 such studies; "
    enough = [f"{of_pair.seeds} seeds"] if of_pair.seeds else []
    if of_pair.rows:
        enough.append(f"{number(of_pair.rows)} test rows with {fewest} seeds")
    elif of_pair.both:
        enough.append(f"{number(of_pair.both[1])} test rows with {of_pair.both[0]} seeds")
    if enough:
        return f"{now}{' or '.join(enough)} would do."
    return (
        f"{now}neither {MOST_SEEDS} seeds nor {MOST_ROWS} times the test rows with "
        f"{max(10, fewest)} seeds would do."
    )


def grounds(found: Components, *, seeds: int, rows: int) -> str:
    """Return what the answer rests on, of a pilot.

    Args:
        found: the components.
        seeds: of the pilot.
        rows: of the pilot.
    """
    many = f"{seeds} seed{'s' if seeds > 1 else ''}"
    pilot = f"Pilot: {len(found.names)} methods, {many}, {number(rows)} test rows."
    spread = number(100 * float(found.seeds.mean()) ** 0.5, digits=2)
    if found.assumed:
        return (
            f"{pilot} The spread between trainings of a method is assumed, {spread} points: it "
            f"takes {FEWEST_SEEDS} seeds to measure it."
        )
    return f"{pilot} Trainings of a method differ by {spread} points (standard deviation)."


def assumptions(methods: int, *, accuracy: float, agreement: float, seed_effect: float) -> str:
    """Return what the answer rests on before any training."""
    return (
        f"Assumed: {methods} methods, all right on {percent(accuracy)} of the rows; trainings of a "
        f"method differ by {number(100 * seed_effect, digits=2)} points (standard deviation); "
        f"outcomes of two methods' trainings on a row correlate by {agreement:.2f}."
    )

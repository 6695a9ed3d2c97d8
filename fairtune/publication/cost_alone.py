"""A study for its costs alone, as its weights were random: its note, and what it leaves out.

Its records and predictions stay as they are. What would say something of scores is null or empty in
metrics/ and plots/, and n/a in the report.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairtune.analysis.metrics import COSTS
from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.files import read_json, write_json
from fairtune.report.cost_alone import CHARTS
from fairtune.report.results import VERDICTS

NOTE = Path("cost-alone.json")
ABOUT = "costs"
"""What such a study's comparison is about, in place of `methods` or `trainings`."""
KEPT = {"metric", "margin", "plausible", "seeds", "test_rows", "groups", "fairness"}
"""Keys of the comparison that say nothing of scores."""
TABLES = {"unlearned", "outlying", "agreement"}
"""Keys of the comparison that hold what was found of a method or a pair, if anything."""


def read() -> str | None:
    """Return why the study in the working folder is for its costs alone, None where it is not.

    Raises:
        UserError: there is a note that gives no reason.
    """
    if not NOTE.is_file():
        return None
    content = read_json(NOTE, made_by="report")
    reason = content.get("reason") if isinstance(content, dict) else None
    return checked(reason, place=f"{NOTE}: reason")


def checked(reason: object, *, place: str) -> str:
    """Return a reason as one line without a full stop.

    Raises:
        UserError: it is none.
    """
    text = " ".join(reason.split()).rstrip(".") if isinstance(reason, str) else ""
    if not text:
        raise UserError(f"{place}: {reason!r} is not right; say in words why no score counts")
    return text


def write(folder: Path, reason: str) -> None:
    """Leave the note in a study's folder."""
    write_json(folder / NOTE, {"reason": reason})


def without_scores(path: Path, content: Any) -> Any:
    """Return what a file of metrics/ or plots/ holds where scores say nothing.

    Args:
        path: of the file.
        content: what would stand there else.
    """
    if path.parent == paths.PLOTS:
        return content if path.stem in CHARTS else []
    if path == VERDICTS:
        return _comparison(content)
    costs = {metric.key for metric in COSTS}
    return {key: value if key in costs else None for key, value in content.items()}


def _comparison(content: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison without verdicts; every rank stays open."""
    made: dict[str, Any] = {
        key: value if key in KEPT else {} if key in TABLES else None
        for key, value in content.items()
    }
    names = list(content["methods"])
    open_ranks = {"best_rank": 1, "worst_rank": len(names)}
    made["about"] = ABOUT
    made["pairs"] = dict.fromkeys(content["pairs"])
    made["methods"] = {
        name: dict.fromkeys(found) | open_ranks for name, found in content["methods"].items()
    }
    made["differences"] = []
    return made

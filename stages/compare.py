"""All runs -> the verdicts on the methods and the tables behind the charts.

in:  runs
out: metrics/comparison.json, plots/*.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from typing import Any

from fairtune.analysis.formats import percent, points, rate
from fairtune.analysis.search import doubts
from fairtune.charts.gallery import compare
from fairtune.core import files, params, paths
from fairtune.runs.search import read_searches
from fairtune.runs.store import read_runs


def warnings(content: dict[str, Any]) -> list[str]:
    """Return what the user should know of trainings that failed, and of unequal classes."""
    said = [
        f"methods.{name} with seeds {seeds} learned nothing: its predictions are not associated "
        "with the labels; a lower learning_rate may help"
        for name, seeds in content["unlearned"].items()
    ]
    said += [
        f"methods.{name} with seed {seed} is {points(gap)} {'above' if gap > 0 else 'below'} its "
        "method's other trainings"
        for name, gaps in content["outlying"].items()
        for seed, gap in gaps.items()
    ]
    if content["unequal_classes"] and content["metric"] == "accuracy":
        said.append(
            f"the classes are unequal ({percent(content['commonest_class'])} of the test rows are "
            "of one), and accuracy counts the rare ones little; compare.metric: macro_f1, "
            "balanced_accuracy or matthews weighs them"
        )
    return said + search_warnings(content["search"])


def search_warnings(search: dict[str, Any] | None) -> list[str]:
    """Return what the user should know of the searches: budgets, edges, collapsed trials."""
    if search is None:
        return []
    said = [f"the budgets of the searches are unequal: {what}" for what in search["unequal"] or []]
    for name, found in search["methods"].items():
        if found["edge"]:
            side = "lowest" if found["edge"] == "low" else "highest"
            said.append(
                f"methods.{name}: its best learning rate, {rate(found['best'])}, is the {side} "
                f"that was tried, and a {side.replace('est', 'er')} one may be better; widen "
                "learning_rate.search"
            )
        if found["chosen_collapsed"]:
            said.append(
                f"methods.{name}: a trial at the chosen learning rate, {rate(found['chosen'])}, "
                f"learned nothing (seeds {found['chosen_collapsed']}); widen learning_rate.search "
                "to lower rates"
            )
    return said + doubts(search["methods"])


def main() -> None:
    """Compare the methods, or refuse where their runs do not match."""
    study = params.load()
    runs = read_runs(list(study.methods), study.seeds)
    searches = read_searches(study.methods)
    content, tables = compare(runs, rules=study.compare, searches=searches)
    for warning in warnings(content):
        print(f"compare: warning: {warning}")
    files.write_json(paths.METRICS / "comparison.json", content)
    for name, table in tables.items():
        files.write_json(paths.PLOTS / f"{name}.json", table)


if __name__ == "__main__":
    errors.run(main)

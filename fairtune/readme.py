"""Fill the results of the project's README from the metrics, or say that they are stale.

usage: python -m fairtune.readme [--check]
in:    params.yaml, metrics/*.json
out:   README.md, between its two markers
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
from pathlib import Path

from fairtune.core import params, paths
from fairtune.report import accuracy, tables, trainings
from fairtune.report.results import Results, read_results

README = Path("README.md")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
CHART = paths.REPORT / "charts/accuracy_interval.svg"


def results(found: Results) -> str:
    """Return the block between the markers: the finding, the table and the chart."""
    table = tables.metrics(found)
    lines = [
        "<!-- Generated from the metrics by `python -m fairtune.readme`; do not edit by hand. -->",
        "",
        accuracy.headline(found),
        "",
        f"| {' | '.join(table.header)} |",
        f"|{'---|' * len(table.header)}",
        *(f"| {' | '.join(row)} |" for row in table.rows),
        "",
        f"{table.note} {trainings.seeds_note(found)}",
        "",
        f"![Test accuracy of each method with its 95% interval]({CHART.as_posix()})",
    ]
    return "\n".join(lines)


def filled(text: str, block: str) -> str:
    """Return the README with the block between its markers.

    Raises:
        UserError: the markers are missing, stand twice or in the wrong order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError(f"{README}: needs one line '{BEGIN}' and after it one line '{END}'")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def main() -> None:
    """Write the block, or with --check only compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    try:
        text = README.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{README}: not found; run this from the repository root") from None
    made = filled(text, results(read_results(params.load())))
    if check and made != text:
        raise UserError(f"{README}: its results are stale; run `python -m fairtune.readme`")
    if not check:
        README.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    run(main)

"""Fill the results of the project's README from the metrics, or say that they are stale.

usage: python -m fairtune.readme [--check]
in:    params.yaml, metrics/*.json; where README.md has markers for it, results/imdb-base
out:   README.md, between its markers
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
from pathlib import Path

from fairtune.core import params, paths
from fairtune.core.params import Params
from fairtune.publication import cost_alone, place
from fairtune.report import accuracy, tables, trainings
from fairtune.report.markup import markdown_text
from fairtune.report.rates import too_low
from fairtune.report.results import Results, read_results
from fairtune.report.values import short_name
from fairtune.report.wording import literal

README = Path("README.md")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
CHART = paths.REPORT / "charts/accuracy_interval.svg"
BASE = place.RESULTS / "imdb-base"
"""The published study that the README may show between markers of its own."""
BASE_BEGIN, BASE_END = "<!-- base:begin -->", "<!-- base:end -->"


def results(found: Results) -> str:
    """Return the block between the markers: the finding, the table and the chart."""
    return _block(found, accuracy.headline(found), source="the metrics", chart=CHART)


def base(found: Results, study: Params) -> str:
    """Return the block of the published study: finding, setting, table and chart."""
    shared = found.comparison["fairness"]["identical"]
    rows = shared["rows in each split"]
    model, data, device = (
        markdown_text(literal(name))
        for name in (
            short_name(study.model.name),
            short_name(study.data.source),
            shared.get("name of the device", "several kinds"),
        )
    )
    folder = BASE.as_posix()
    doubts = too_low(found.search) if found.search else []
    finding = " ".join([accuracy.headline(found), *map(markdown_text, doubts)])
    said = (
        f"{finding} The study: {model} on {data}, {rows['train']:,} rows to train "
        f"on and {rows['test']:,} to test on, on "
        f"{'devices of' if found.mixed else 'one'} {device}: [the report]("
        f"{folder}/{place.TWIN.as_posix()}), [records and predictions]({folder})."
    )
    return _block(found, said, source=folder, chart=BASE / CHART)


def _block(found: Results, said: str, *, source: str, chart: Path) -> str:
    """Return a block: what is said first, the table of metrics and the chart of their intervals."""
    table = tables.metrics(found)
    lines = [
        f"<!-- Generated from {source} by `python -m fairtune.readme`; do not edit by hand. -->",
        "",
        said,
        "",
        f"| {' | '.join(table.header)} |",
        f"|{'---|' * len(table.header)}",
        *(f"| {' | '.join(row)} |" for row in table.rows),
        "",
        f"{table.note} {trainings.seeds_note(found)}",
        "",
        f"![Test {found.score_name} of each method with its 95% interval]({chart.as_posix()})",
    ]
    return "\n".join(lines)


def filled(text: str, block: str, *, begin: str = BEGIN, end: str = END) -> str:
    """Return the README with the block between its markers.

    Raises:
        UserError: the markers are missing, stand twice or in the wrong order.
    """
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"{README}: needs one line '{begin}' and after it one line '{end}'")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n{block}\n{end}{after}"


def with_base(text: str) -> str:
    """Return the README with the block of the published study, where it has markers for it.

    Raises:
        UserError: there are markers and no such study, or one without scores.
    """
    if BASE_BEGIN not in text and BASE_END not in text:
        return text
    if not BASE.is_dir():
        raise UserError(
            f"{BASE}: not found, and {README} has markers for it; publish the study "
            f"(`python -m fairtune.publish {BASE.name}`), or take out '{BASE_BEGIN}' and "
            f"'{BASE_END}'"
        )
    with place.at(BASE):
        if reason := cost_alone.read():
            raise UserError(f"for its costs alone ({reason}); {README} needs a study with scores")
        study = params.load()
        block = base(read_results(study), study)
    return filled(text, block, begin=BASE_BEGIN, end=BASE_END)


def main() -> None:
    """Write the blocks, or with --check only compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    try:
        text = README.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{README}: not found; run this from the repository root") from None
    made = with_base(filled(text, results(read_results(params.load()))))
    if check and made != text:
        raise UserError(f"{README}: its results are stale; run `python -m fairtune.readme`")
    if not check:
        README.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    run(main)

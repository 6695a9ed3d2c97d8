"""Metrics, verdicts, chart tables and manifests -> the paper and its Markdown twin.

in:  metrics, plots, runs, data/subset/manifest.json, data/encoded/manifest.json
out: report/report.pdf, report/README.md, report/charts/*.svg
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from fairtune.charts import gallery
from fairtune.charts.fonts import fonts_for, without_glyph
from fairtune.core import files, params, paths
from fairtune.report.paper import report
from fairtune.report.study import read


def main() -> None:
    """Write the report."""
    evidence = read(params.load())
    with files.fresh_folder(paths.REPORT / "charts") as folder:
        pdf, twin = report(evidence, charts=folder)
        drawn = len(list(folder.iterdir()))
    (paths.REPORT / "README.md").write_text(twin, encoding="utf-8")
    (paths.REPORT / "report.pdf").write_bytes(pdf)
    lack = gallery.fonts_of(evidence.tables).missing + fonts_for([twin]).missing
    if lack:
        print(f"report: warning: {without_glyph(lack)}")
    print(f"report: report/report.pdf, report/README.md and {drawn} charts")


if __name__ == "__main__":
    errors.run(main)

"""Metrics, verdicts, chart tables and manifests -> the paper and its Markdown twin.

in:  metrics, plots, models, data/subset/manifest.json, data/encoded/manifest.json
out: report/report.pdf, report/README.md, report/charts/*.svg
"""

from __future__ import annotations

from fairtune import charts, errors, evidence, files, findings, layout, paper, params


def main() -> None:
    """Draw the charts and write the report."""
    found = evidence.read(params.load())
    values = findings.context(found)
    source = paper.typst_source(values)
    twin = paper.markdown(values)
    with files.fresh_folder(layout.REPORT / "charts") as folder:
        drawn = charts.draw_all(found.tables, folder)
        pdf = paper.pdf(source, charts=folder)
    (layout.REPORT / "README.md").write_text(twin, encoding="utf-8")
    (layout.REPORT / "report.pdf").write_bytes(pdf)
    print(f"report: report/report.pdf, report/README.md and {len(drawn)} charts")


if __name__ == "__main__":
    errors.run(main)

"""Metrics, verdicts, chart tables and manifests -> the paper and its Markdown twin.

in:  metrics, plots, models, data/subset/manifest.json, data/encoded/manifest.json
out: report/report.pdf, report/README.md, report/charts/*.svg
"""

from __future__ import annotations

from fairtune.charts import gallery
from fairtune.core import errors, files, params, paths
from fairtune.report import typeset, values
from fairtune.report.study import read


def main() -> None:
    """Draw the charts and write the report."""
    found = read(params.load())
    context = values.context(found)
    source = typeset.typst_source(context)
    twin = typeset.markdown(context)
    with files.fresh_folder(paths.REPORT / "charts") as folder:
        drawn = gallery.draw_all(found.tables, folder)
        pdf = typeset.pdf(source, charts=folder)
    (paths.REPORT / "README.md").write_text(twin, encoding="utf-8")
    (paths.REPORT / "report.pdf").write_bytes(pdf)
    print(f"report: report/report.pdf, report/README.md and {len(drawn)} charts")


if __name__ == "__main__":
    errors.run(main)

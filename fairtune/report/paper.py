"""The report of a study as a whole: its charts, the paper and its Markdown twin."""

from __future__ import annotations

from pathlib import Path

from fairtune.charts import gallery
from fairtune.report import typeset
from fairtune.report.study import Evidence
from fairtune.report.values import context


def report(
    evidence: Evidence, *, charts: Path, notebook: bool = True, figures: Path | None = None
) -> tuple[bytes, str]:
    """Draw the charts into a folder; return the paper as PDF and its Markdown twin.

    Args:
        evidence: the study's.
        charts: folder of the figures.
        notebook: whether the walkthrough lies beside the report.
        figures: folder of figures to set in place of those drawn, where it has all of them.

    Raises:
        UserError: a template, the references or a font is not right.
    """
    values = context(evidence, notebook=notebook)
    # The templates are filled first: what is wrong with them shows before anything is drawn.
    source, twin = typeset.typst_source(values), typeset.markdown(values)
    drawn = gallery.draw_all(evidence.tables, charts)
    ready = figures is not None and all((figures / path.name).is_file() for path in drawn)
    return typeset.pdf(source, charts=figures if figures and ready else charts), twin

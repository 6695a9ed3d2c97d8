"""The notebook's source and what the pipeline wrote -> the executed notebook.

in:  notebooks/walkthrough.py, data, metrics, plots, runs
out: report/walkthrough.ipynb
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from pathlib import Path

from fairtune.core import paths
from fairtune.report import notebook


def main() -> None:
    """Run the notebook and keep its outputs."""
    made = notebook.execute(notebook.SOURCE, folder=Path())
    notebook.write(made, paths.REPORT / notebook.OUTPUT)
    print(f"notebook: {paths.REPORT / notebook.OUTPUT}, {len(made.cells)} cells")


if __name__ == "__main__":
    errors.run(main)

"""The notebook's source and what the pipeline wrote -> the executed notebook.

in:  notebooks/walkthrough.py, data, metrics, plots, models
out: report/walkthrough.ipynb
"""

from __future__ import annotations

from pathlib import Path

from fairtune import errors, layout, notebook


def main() -> None:
    """Run the notebook and keep its outputs."""
    made = notebook.execute(notebook.SOURCE, folder=Path())
    notebook.write(made, layout.REPORT / notebook.OUTPUT)
    print(f"notebook: {layout.REPORT / notebook.OUTPUT}, {len(made.cells)} cells")


if __name__ == "__main__":
    errors.run(main)

"""The notebook: executed outputs that stay the same, and one line where a cell fails."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from fairtune.core.errors import UserError
from fairtune.report import notebook
from tests.reports import ROOT

CELLS = """# %% [markdown]
# # A title

# %%
import sys
print("warning", file=sys.stderr)
6 * 7
"""


def test_a_notebook_is_executed_and_the_same_each_time(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(CELLS)
    for name in ("a.ipynb", "b.ipynb"):
        notebook.write(notebook.execute(source, folder=tmp_path), tmp_path / name)
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()
    made = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    assert [cell["id"] for cell in made.cells] == ["cell-00", "cell-01"]
    assert [out["data"]["text/plain"] for out in made.cells[1].outputs] == ["42"]
    assert str(tmp_path) not in (tmp_path / "a.ipynb").read_text()


def test_a_cell_that_fails_gives_one_line(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("# %%\nraise ValueError('no data here')\n")
    with pytest.raises(UserError, match=r"source\.py: a cell failed: ValueError: no data here$"):
        notebook.execute(source, folder=tmp_path)


def test_a_missing_source_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.py: not found"):
        notebook.execute(tmp_path / "none.py", folder=tmp_path)


def test_the_walkthrough_names_no_method_and_explains_each_step() -> None:
    text = (ROOT / notebook.SOURCE).read_text(encoding="utf-8")
    assert not {"lora", "ia3", "qlora"} & set(text.lower().replace('"', " ").split())
    assert text.count("# %% [markdown]") >= 8

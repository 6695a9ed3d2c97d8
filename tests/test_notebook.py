"""The notebook: executed outputs that stay the same, and one line where a cell fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest

from fairtune.core.errors import UserError
from fairtune.preload import client, owner, wire
from fairtune.report import notebook
from tests import holder
from tests.reports import ROOT
from tests.repositories import until

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
        notebook.write(notebook.execute(source, folder=ROOT), tmp_path / name)
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()
    made = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    assert [cell["id"] for cell in made.cells] == ["cell-00", "cell-01"]
    assert [out["data"]["text/plain"] for out in made.cells[1].outputs] == ["42"]
    assert str(tmp_path) not in (tmp_path / "a.ipynb").read_text()


def test_a_cell_that_fails_gives_one_line(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("# %%\nraise ValueError('no data here')\n")
    with pytest.raises(UserError, match=r"source\.py: a cell failed: ValueError: no data here$"):
        notebook.execute(source, folder=ROOT)


def test_a_kernel_that_is_interrupted_interrupts_the_stage(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("# %%\nraise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        notebook.execute(source, folder=ROOT)


def test_a_missing_source_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.py: not found"):
        notebook.execute(tmp_path / "none.py", folder=ROOT)


def test_the_walkthrough_names_no_method_and_explains_each_step() -> None:
    text = (ROOT / notebook.SOURCE).read_text(encoding="utf-8")
    assert not {"lora", "ia3", "qlora"} & set(text.lower().replace('"', " ").split())
    assert text.count("# %% [markdown]") >= 8


@pytest.fixture
def in_a_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run of stages, which this test's processes belong to."""
    for name, value in holder.variables(dict(os.environ)).items():
        monkeypatch.setenv(name, value)
    run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        monkeypatch.setenv(owner.RUN, str(owner.find(run.pid)))
        yield
    finally:
        run.kill()
        run.wait()


@pytest.mark.usefixtures("in_a_run")
def test_in_a_run_with_trainings_the_kernel_has_their_imports_and_ends_when_it_is_killed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Not in the fixture, during which pytest's variables are others.
    client.begin(wire.LIBRARIES)
    source = tmp_path / "source.py"
    source.write_text("# %%\nimport os, sys\n(os.getppid(), 'torch' in sys.modules)\n")
    (cell,) = notebook.execute(source, folder=ROOT).cells
    server, imported = eval(cell.outputs[0]["data"]["text/plain"])
    assert imported
    assert not "".join(capfd.readouterr()), "a kernel that sees no parent says how to quit it"
    assert "fairtune.preload.server" in psutil.Process(server).cmdline()
    # Whoever kills the kernel kills the process that was started in its stead.
    words = [sys.executable, "-m", "fairtune.preload.kernel", "-f", str(tmp_path / "connection")]
    killed = subprocess.Popen(words, cwd=ROOT)
    until(lambda: psutil.Process(server).children() and (tmp_path / "connection").exists(), 30)
    killed.kill()
    killed.wait()
    ended = time.monotonic()
    until(lambda: not psutil.Process(server).children(), 5)
    assert time.monotonic() - ended < owner.PATIENCE_SECONDS / 2

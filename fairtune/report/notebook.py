"""Execute the notebook's source and leave out what would differ from run to run."""

from __future__ import annotations

import atexit
import os
import re
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from fairtune.core.errors import UserError

SOURCE = Path("notebooks/walkthrough.py")
OUTPUT = "walkthrough.ipynb"
LIMIT_SECONDS = 600
"""For one cell: building a large model may take minutes where its weights are read first."""
COLORS = re.compile(r"\x1b\[[0-9;]*m")


class ThisPython(KernelSpecManager):
    """Knows one kernel: the interpreter that runs the stage, whatever else is installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return a kernel of this interpreter."""
        # By its name alone: what a notebook says does not depend on how its kernel starts.
        command = [sys.executable, "-m", "fairtune.preload.kernel", "-f", "{connection_file}"]
        # Else the kernel warns that its parent has gone when it is shut down.
        command.append("--log-level=ERROR")
        # By a signal, Jupyter's interrupt before the end would reach the process that waits for a
        # forked kernel as well, which answers it as a person's Ctrl-C.
        return KernelSpec(
            argv=command, display_name="Python 3", language="python", interrupt_mode="message"
        )


def execute(source: Path, *, folder: Path) -> Any:
    """Run a notebook from its source, top to bottom.

    Args:
        source: a notebook as jupytext's percent format has it.
        folder: the working directory; fairtune can be imported there.

    Raises:
        UserError: the source is missing, or a cell fails; names the error.
    """
    if not source.is_file():
        raise UserError(f"{source}: not found; restore it from git")
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as settings:
        manager = AsyncKernelManager(kernel_spec_manager=ThisPython(), kernel_name="python3")
        if os.name != "nt":
            # Sockets in the file system: no port is opened that others on the machine could read.
            manager.transport, manager.ip = "ipc", str(Path(settings) / "kernel")
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=LIMIT_SECONDS,
            record_timing=False,
            # By a word, as a forked kernel has the environment of the process that it comes from.
            extra_arguments=[f"--ipython-dir={settings}"],
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            _run(client)
        except CellExecutionError as error:
            if error.ename == "KeyboardInterrupt":  # as where the run that it belongs to is gone
                raise KeyboardInterrupt from None
            cause = COLORS.sub("", f"{error.ename}: {error.evalue}").splitlines()[0]
            raise UserError(f"{source}: a cell failed: {cause}") from None
    return stable(notebook)


def _run(client: NotebookClient) -> None:
    """Execute a notebook beside the main thread, in which Ctrl-C then is what it is elsewhere.

    In the main thread, the client would kill its kernel at Ctrl-C and then miss it.
    """
    failed: list[BaseException] = []

    def execute() -> None:
        try:
            client.execute(cleanup_kc=True)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=execute, daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        kernel = getattr(getattr(client.km, "provisioner", None), "process", None)
        if kernel is not None:
            kernel.kill()
        raise
    finally:
        # Else the client would look for its kernel once more when this process ends.
        atexit.unregister(client._cleanup_kernel)
    if failed:
        raise failed[0]


def stable(notebook: Any) -> Any:
    """Leave out random ids, versions and metadata, so that the same results give the same bytes."""
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:02d}"
        cell["metadata"] = {}
        if cell.cell_type == "code":
            cell["outputs"] = [out for out in cell.outputs if out.get("name") != "stderr"]
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook["nbformat_minor"] = 5
    return notebook


def write(notebook: Any, path: Path) -> None:
    """Write the notebook, valid and whole."""
    nbformat.validate(notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = nbformat.writes(notebook, version=4)  # type: ignore[no-untyped-call]
    path.write_text(f"{text}\n", encoding="utf-8")

"""Commands and stages run in the tests' own process: what they print and how they end.

A new process takes seconds to import what they need. One test of each starts it as users do.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from fairtune.core import errors


def run(main: Callable[[], None], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as `python -m` would.

    Args:
        main: of the command.
        folder: where it works.
        words: of the command line.
    """
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["command", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            errors.run(main)
        except SystemExit as ended:
            status = ended.code
    if isinstance(status, str):  # which Python prints when it ends
        err.write(f"{status}\n")
        status = 1
    assert isinstance(status, int)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

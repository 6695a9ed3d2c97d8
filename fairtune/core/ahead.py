"""Begin what later stages wait for while earlier ones still work."""

from __future__ import annotations

import os
import subprocess
import sys

# DVC names the stage in the environment of its command.
STAGE = "DVC_STAGE"
MODULE = "fairtune.preload.ahead"


def import_for_trainings() -> None:
    """Let the process that trainings are forked from import its libraries; wait for nothing.

    For a run of DVC alone: elsewhere nobody says that a training will follow. The module is named
    and not imported, so that no stage that reads the data depends on it.
    """
    if sys.platform == "linux" and STAGE in os.environ:
        subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

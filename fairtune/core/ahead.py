"""Begin what later stages wait for while earlier ones still work."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys

# DVC names the stage in the environment of its command.
STAGE = "DVC_STAGE"
MODULE = "fairtune.preload.ahead"
# In the environment: 0 lets each process import its libraries by itself.
SWITCH = "FAIRTUNE_PRELOAD"


def import_for_trainings() -> None:
    """Let the process that trainings are forked from import its libraries; do not wait for them.

    For a run of DVC alone: elsewhere nobody says that a training will follow. The module is named
    and not imported, so that no stage that reads the data depends on it.
    """
    if sys.platform == "linux" and STAGE in os.environ:
        begun = subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # A moment later it has been started. Which run it belongs to is found through this process.
        atexit.register(begun.wait)


def go_on(module: str) -> None:
    """Go on as a fork of the process that trainings are forked from, where the run has one.

    Its libraries are what this process would have to import too. Returns where there can be none;
    else `fairtune.preload.ahead` stands in this process's place, and does the work itself where
    there is none after all.

    Args:
        module: the stage, which has a function `main`.
    """
    if sys.platform == "linux" and STAGE in os.environ and os.environ.get(SWITCH) != "0":
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", MODULE, module])

"""End a process as a program ends, but for the taking apart of what it imported.

Python takes torch and the rest apart piece by piece, which takes about a second of a processor's
time; the system takes a process's memory back at once. multiprocessing ends its forks so, too.
Nor does a Ctrl-C that comes then end the process without a word.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def status_of(work: Callable[[], object]) -> int:
    """Do the work as Python does a program's, and return the status that it would end with."""
    status = 0
    try:
        work()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as ended:
        if ended.code is not None and not isinstance(ended.code, int):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    return status & 0xFF


def end(status: int) -> NoReturn:
    """End this process as a program ends, but for the clearing of its memory."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)

"""Answer Ctrl-C with one line at every moment, also while libraries are loaded.

The package `fairtune` imports this first of all where a stage or a command is the program. It
imports no more itself than it must: until it is there, Python answers with a traceback.
"""

from __future__ import annotations

# The part in C: the other one imports ten modules more.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

STATUS = 130
"""What a shell reports of a program that Ctrl-C ended."""
LINE = "fairtune: interrupted\n"
OURS = ("stages", "fairtune")
# The code of imports has no file.
IMPORTS = "<frozen importlib"


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, LINE.encode())
    os._exit(STATUS)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but not through an import: end there.

    It may come out of an import as another error, and a library in C++ that is being loaded may
    abort the process.
    """
    above = frame
    while above is not None:
        if above.f_code.co_filename.startswith(IMPORTS):
            _leave(number, frame)
        above = above.f_back
    raise KeyboardInterrupt


def answer() -> None:
    """Answer from now on, until the work begins, where a stage or a command is the program."""
    program = getattr(sys.modules.get("__main__"), "__spec__", None)
    # While `python -m` looks for its program, that has no name yet.
    ours = program.name.partition(".")[0] in OURS if program else sys.argv[:1] == ["-m"]
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def awaits_work() -> bool:
    """Return whether Ctrl-C is answered here, and the program has yet to do its work."""
    return signal.getsignal(signal.SIGINT) is _leave


answer()

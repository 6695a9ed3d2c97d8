"""One clear line for whatever a user can put right, and an exit status that is not zero."""

from __future__ import annotations

import difflib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType

from fairtune.core.disk import STDOUT, obstacle, writing
from fairtune.core.quiet import tell_libraries

# What a shell reports of a program that died of SIGPIPE.
BROKEN_PIPE = 141
INTERRUPTED = 130


class UserError(Exception):
    """A mistake or an obstacle outside the code; its text names the key or file and the remedy."""


class DivergedError(UserError):
    """A training no longer gives numbers."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the known names, the nearest first: ``did you mean 'lora'? known: full, lora``."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def one_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def _leave(number: int, frame: FrameType | None) -> None:
    """Answer Ctrl-C while libraries are loaded: raised there, it may come out as another error."""
    os.write(2, b"fairtune: interrupted\n")
    os._exit(INTERRUPTED)


def _answer_ctrl_c() -> None:
    """Answer Ctrl-C from now on, until `run` does, where a stage or a command is the program.

    A program imports this module before any other, as loading the others takes seconds.
    """
    program = getattr(sys.modules.get("__main__"), "__spec__", None)
    ours = program is not None and program.name.partition(".")[0] in {"stages", "fairtune"}
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def run(main: Callable[[], None]) -> None:
    """Call ``main`` and turn what a user can put right into one line on stderr.

    Exits with 1 after such an error and with 130 after Ctrl-C. A reader of the output that has
    seen enough (`| head`) is no error. Anything else is a defect of the code and keeps its
    traceback.
    """
    try:
        if signal.getsignal(signal.SIGINT) is _leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
        with writing(STDOUT, alone=True):
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(BROKEN_PIPE)
    except UserError as error:
        sys.exit(f"fairtune: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("fairtune: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        remedy = obstacle(error)
        if remedy is None:
            raise
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        sys.exit(f"fairtune: {remedy}")


def _drop_output() -> None:
    """Forget what could not be written: else Python would complain once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_answer_ctrl_c()
tell_libraries()

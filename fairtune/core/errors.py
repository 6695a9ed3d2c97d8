"""One clear line for whatever a user can put right, and an exit status that is not zero."""

from __future__ import annotations

from fairtune.core import interruption  # isort: skip (it answers Ctrl-C from here on)

import difflib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from fairtune.core.disk import STDOUT, obstacle, writing
from fairtune.core.ending import end

# What a shell reports of a program that died of SIGPIPE.
BROKEN_PIPE = 141


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


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt, unless it is ignored or somebody else's."""
    before = signal.getsignal(signal.SIGINT)
    asked = before is signal.default_int_handler or interruption.awaits_work()
    if not asked or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, interruption.interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run(main: Callable[[], None]) -> None:
    """Call ``main`` and turn what a user can put right into one line on stderr.

    Exits with 1 after such an error and with 130 after Ctrl-C. A reader of the output that has
    seen enough (`| head`) is no error. Anything else is a defect of the code and keeps its
    traceback. Where this is a program's work, the process ends with it.
    """
    program = interruption.awaits_work()
    try:
        with _interruptible():
            main()
            with writing(STDOUT, alone=True):
                sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(BROKEN_PIPE)
    except UserError as error:
        sys.exit(f"fairtune: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.stderr.write(interruption.LINE)
        if program:
            end(interruption.STATUS)
        sys.exit(interruption.STATUS)
    except Exception as error:
        remedy = obstacle(error)
        if remedy is None:
            raise
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        sys.exit(f"fairtune: {remedy}")
    if program:
        end(0)


def _drop_output() -> None:
    """Forget what could not be written: else Python would complain once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

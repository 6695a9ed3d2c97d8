"""One clear line for whatever a user can put right, and an exit status that is not zero."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator

# Libraries written in Rust (tokenizers, safetensors) report a full disk in words alone.
FULL = ("No space left on device", "Disk quota exceeded", "File too large")
REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space, then run again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run again",
    errno.EFBIG: "the file would be larger than is allowed here: raise the limit, then run again",
    errno.EACCES: "unlock it for this user, then run again",
    errno.EPERM: "unlock it for this user, then run again",
    errno.EROFS: "the disk is read-only: make it writable, then run again",
    errno.EIO: "the disk has a fault: check it, then run again",
    errno.EISDIR: "there is a folder where a file should be: move it away, then run again",
    errno.ENOTDIR: "there is a file where a folder should be: move it away, then run again",
    errno.EEXIST: "there is a file where a folder should be: move it away, then run again",
}

# What a shell reports of a program that died of SIGPIPE.
BROKEN_PIPE = 141


class UserError(Exception):
    """A mistake or an obstacle outside the code; its text names the key or file and the remedy."""


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


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and all that caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def obstacle(error: BaseException) -> str | None:
    """Return what to do about a disk that is full, locked or broken; None for anything else.

    What an exception was raised *from* counts; what merely was handled at the time does not.
    """
    links = [error]
    while links[-1].__cause__ is not None:
        links.append(links[-1].__cause__)
    for link in links:
        if isinstance(link, OSError) and link.errno in REMEDIES:
            where = f"'{link.filename}'" if link.filename else "a file"
            return f"cannot write or read {where}: {REMEDIES[link.errno]}"
        full = next((words for words in FULL if words in str(link)), None)
        if full:
            return f"cannot write a file: {full.lower()}: free some space, then run again"
    return None


def run(main: Callable[[], None]) -> None:
    """Call ``main`` and turn what a user can put right into one line on stderr.

    Exits with 1 after such an error and with 130 after Ctrl-C. A reader of the output that has
    seen enough (`| head`) is no error. Anything else is a defect of the code and keeps its
    traceback.
    """
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Else Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except UserError as error:
        sys.exit(f"fairtune: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("fairtune: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        remedy = obstacle(error)
        if remedy is None:
            raise
        sys.exit(f"fairtune: {remedy}")

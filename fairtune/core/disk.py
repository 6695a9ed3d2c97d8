"""Say what to do about a disk that is full, locked or broken, and which file or folder it is."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Libraries written in Rust (tokenizers, safetensors) report a full disk in words alone.
WORDS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
}
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_MORE = (*FULL, errno.EFBIG)
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
NO_TEMPORARY_FOLDER = "No usable temporary directory"
MIB = 2**20
STDOUT = Path("standard output")
"""Stands for the name of what is written to standard output."""
# A disk with more room than this, in MiB, is not the full one, nor was it a moment ago.
ROOMY = 256


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and all that caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def obstacle(error: BaseException) -> str | None:
    """Return what to do about a disk that is full, locked or broken; None for anything else.

    What an exception was raised *from* counts; what merely was handled at the time counts where
    the disk is full, for then it is the cause of whatever followed.
    """
    links = list(chain(error))
    causes = [error]
    while causes[-1].__cause__ is not None and len(causes) < len(links):
        causes.append(causes[-1].__cause__)
    for link in links:
        if NO_TEMPORARY_FOLDER in str(link) and isinstance(link, FileNotFoundError):
            return (
                f"no folder takes temporary files: there is no room in {_room()}; free some "
                "space, or set TMPDIR to a folder that has some, then run again"
            )
        number, name = _refusal(link)
        if number in FULL or (number is not None and link in causes):
            return _line(number, name or next(filter(None, map(_name, links)), None))
    return None


@contextmanager
def writing(path: Path, *, alone: bool = False) -> Iterator[None]:
    """Let a disk that takes no more be known by what was written, where the error names no file.

    Which disk is full can be told only now: once the half-written is removed, it has room again.

    Args:
        path: what is written.
        alone: nothing else is; otherwise the disk of `path` must be the one with the least room.

    Raises:
        OSError: it takes no more; names the path.
    """
    try:
        yield
    except Exception as error:
        links = list(chain(error))
        number = next((n for n, _ in map(_refusal, links) if n in NO_MORE), None)
        if number is None or any(name for _, name in map(_refusal, links)):
            raise
        if number == errno.ENOSPC and not alone and _free(path) > min(map(_free, _folders())):
            raise
        raise OSError(number, os.strerror(number), os.fspath(path)) from error


def _free(path: Path) -> int:
    """Return the bytes left on the disk of a path, which may not be there."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _refusal(link: BaseException) -> tuple[int | None, str | None]:
    """Return the number of an error of the disk, and the file that it is about."""
    if isinstance(link, OSError) and link.errno in REMEDIES:
        return link.errno, _name(link)
    if isinstance(link, shutil.Error) and isinstance(link.args[0], list):
        for _, target, why in link.args[0]:
            number = next((n for words, n in WORDS.items() if words in str(why)), None)
            if number is not None:
                return number, os.fspath(target)
    return next((n for words, n in WORDS.items() if words in str(link)), None), None


def _name(link: BaseException) -> str | None:
    """Return the file that an error is about."""
    if not isinstance(link, OSError):
        return None
    # Of a copy it is the target that finds no room; the source comes first.
    target = link.filename2 if link.errno in FULL else None
    return os.fsdecode(target or link.filename) if target or link.filename else None


def _line(number: int, name: str | None) -> str:
    remedy = REMEDIES[number]
    if name:
        return f"cannot write or read '{name}': {remedy}"
    if number == errno.ENOSPC:
        tight = min(map(_free, _folders())) < ROOMY * MIB
        which = f" ({_room()})" if tight else ""
        remedy = remedy.replace("the disk is full", f"a disk is full{which}")
    elif number == errno.EDQUOT:
        folders = " or ".join(f"'{folder}'" for folder in _folders())
        remedy = remedy.replace("is used up", f"of {folders} is used up")
    return f"cannot write or read a file: {remedy}"


def _folders() -> list[Path]:
    """Return where files are written: here, for a while, and to the libraries' caches."""
    caches = [os.environ.get("HF_HOME"), os.environ.get("XDG_CACHE_HOME"), Path.home() / ".cache"]
    temporary = [*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp", "/var/tmp"]
    folders = [Path.cwd(), *(Path(folder) for folder in [*temporary, *caches] if folder)]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _room() -> str:
    """Return which folder has the least room, and how much."""
    room = {folder: shutil.disk_usage(folder).free for folder in _folders()}
    least = min(room, key=lambda folder: room[folder])
    return f"'{least}', {room[least] / MIB:,.1f} MiB free"

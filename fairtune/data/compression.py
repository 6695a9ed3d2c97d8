"""Open text files, packed or not, as UTF-8."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any, TextIO

from fairtune.core.errors import UserError

OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
PACKED = (*OPENERS, ".zip")
# Known by name, so that they are refused by name.
UNSUPPORTED = {".zst", ".lz4", ".7z", ".rar", ".tar", ".tgz"}


def inner_name(path: Path) -> PurePath:
    """Return the name of the file without what packs it: ``reviews.csv`` of ``reviews.csv.gz``.

    Raises:
        UserError: the file is packed in a way that is not read, or holds more than one file.
    """
    ending = path.suffix.lower()
    if ending in UNSUPPORTED or (PurePath(path.stem).suffix.lower() == ".tar"):
        raise UserError(
            f"data.source: '{path}' is packed in a way that is not read; unpack it, or pack it as "
            f"one of {', '.join(PACKED)}"
        )
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive:
            return PurePath(_member(archive, path))
    return PurePath(path.stem if ending in OPENERS else path.name)


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    """Return the one file of an archive; macOS adds files of its own."""
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]
    if len(names) != 1:
        raise UserError(
            f"data.source: '{path}' holds {len(names)} files; a .zip must hold one: unpack it, and "
            "give the file, or the folder with a file for each split"
        )
    return names[0]


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Yield a file as text, its line ends as they are.

    Raises:
        UserError: it is not UTF-8, or what packs it is broken.
    """
    try:
        with _binary(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError:
        raise UserError(
            f"data.source: '{path}' is not UTF-8 text; convert it{_first_wrong(path)}"
        ) from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise UserError(
            f"data.source: '{path}' cannot be unpacked: {error or 'it ends too early'}"
        ) from error


@contextmanager
def _binary(path: Path) -> Iterator[IO[bytes]]:
    ending = path.suffix.lower()
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as file:
            yield file
    else:
        with OPENERS.get(ending, Path.open)(path, "rb") as file:
            yield file


def _first_wrong(path: Path) -> str:
    """Return the first line that is not UTF-8, with the byte at fault."""
    with _binary(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f" (byte 0x{line[error.start]:02x} in line {number:,})"
    return ""

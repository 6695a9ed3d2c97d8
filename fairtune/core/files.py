"""Write the pipeline's files, whole or not at all, and read its JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairtune.core.disk import writing
from fairtune.core.errors import UserError


def write_json(path: Path, content: Any) -> None:
    """Write JSON that never holds NaN, through a file beside it, so that no half file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    half = path.with_name(path.name + ".part")
    try:
        with writing(path, alone=True):
            half.write_text(text, encoding="utf-8")
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def read_json(path: Path, *, made_by: str) -> Any:
    """Read a JSON file of an earlier stage.

    Raises:
        UserError: the file is missing or is not JSON; names the stage that makes it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro {made_by}`") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path}: not valid JSON; run `dvc repro --force {made_by}`") from None


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``path`` only when the block succeeds.

    What stood at ``path`` before is there again after any failure, also one between the two moves.

    Raises:
        UserError: another process is filling such a folder for the same ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    old = path.with_name(path.name + ".old")
    with _locked(half, path):
        for left in half.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            with writing(path):
                yield half
            shutil.rmtree(old, ignore_errors=True)
            if path.exists():
                os.replace(path, old)
            os.replace(half, path)
        except BaseException:
            # Not after a success: the name may be another process's then.
            shutil.rmtree(half, ignore_errors=True)
            raise
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(half: Path, path: Path) -> Iterator[None]:
    """Make a folder that is this process's alone; its death gives the folder back.

    Raises:
        UserError: another process has it.
    """
    half.mkdir(exist_ok=True)
    if sys.platform == "win32":  # folders cannot be locked there
        yield
        return
    import fcntl

    descriptor = os.open(half, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"{path}: another process is writing it ('{half}'); wait for it, or end it"
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        # Between the two calls its owner may have moved or removed it.
        if not half.exists() or not os.path.samestat(os.fstat(descriptor), half.stat()):
            raise UserError(f"{path}: another process has just written it; run again")
        yield
    finally:
        os.close(descriptor)

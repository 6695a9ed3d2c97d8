"""What a process was started in: a training may be forked only from one started in the same.

The libraries read some of it once, when they are imported or loaded.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

from fairtune.preload import owner

# Nothing reads these, or not before a training begins.
FREE = ("_", "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL")
FREE_BEGINNINGS = ("DVC_", "FAIRTUNE_")
GPUS = "CUDA_VISIBLE_DEVICES"


def surroundings() -> dict[str, Any]:
    """Return all that must be alike, as JSON can hold it."""
    umask = os.umask(0o077)
    os.umask(umask)
    here, code = os.getcwd(), owner.code_folder()
    path = [code if folder == here else folder for folder in sys.path]
    return {
        "python": [sys.executable, sys.version, repr(sys.flags), sys.warnoptions, path],
        "options": sorted(map(str, sys._xoptions.items())),
        "folder": code,
        "user": [os.geteuid(), os.getegid(), sorted(os.getgroups())],
        "limits": [
            list(resource.getrlimit(getattr(resource, name)))
            for name in sorted(dir(resource))
            if name.startswith("RLIMIT_")
        ],
        "cores": sorted(os.sched_getaffinity(0)),
        "niceness": os.nice(0),
        "umask": umask,
        "control group": Path("/proc/self/cgroup").read_text(),
        "terminal": os.isatty(2),
        "environment": fixed(dict(os.environ)),
        "libraries": installed(),
    }


def fixed(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables that a process cannot change once its libraries are imported.

    Of the GPUs it counts only whether there are any to see: which they are is read at first use.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name not in FREE and not name.startswith(FREE_BEGINNINGS)
    }
    if GPUS in kept:
        kept[GPUS] = "none" if kept[GPUS].split(",")[0].strip() in ("", "-1") else "some"
    else:
        kept[GPUS] = "some"
    return kept


def installed() -> list[list[Any]]:
    """Return name, version and time of installation of each distribution on the path."""
    found: list[list[Any]] = []
    for folder in sys.path:
        try:
            with os.scandir(folder or ".") as entries:
                found += [
                    [entry.path, entry.stat().st_mtime_ns]
                    for entry in entries
                    if entry.name.endswith((".dist-info", ".egg-info", ".egg-link", ".pth"))
                ]
        except OSError:
            continue
    return sorted(found)


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """Return what differs first, None where nothing does."""
    for name in ours:
        if ours[name] != theirs.get(name):
            if name == "environment":
                pairs = ours[name].items() ^ theirs.get(name, {}).items()
                return f"environment ({min(pair[0] for pair in pairs)})"
            return name
    return None

"""Hold the libraries of a training imported, and fork once for each training of a run.

usage: python -m fairtune.preload.server SOCKET OWNER MODULE...

Started by `fairtune.preload.client`, with the number of a listening socket, the process that it
ends with, and what to import. It begins no computation and no CUDA, has no thread that a fork would
miss, and hands none of fairtune's own modules to a fork: an edit to them counts at once.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from fairtune.core import ending
from fairtune.core.ahead import SWITCH
from fairtune.preload import deferral, owner, resident, wire
from fairtune.preload.forks import OURS, Server, sources
from fairtune.preload.surroundings import surroundings

# Lets torch ask the driver's library whether there is a GPU, and not begin CUDA for that.
NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
# Signals that a process is given as its starter has them.
HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def load(names: list[str]) -> None:
    """Import the libraries, as a training would, all but what would begin CUDA."""
    from fairtune.training import start

    # Asked in the ordinary way whether there is a GPU, CUDA could not be used in a fork.
    os.environ[NVML_CHECK] = "1"
    start.set_up_process()
    deferral.defer(wire.DEFERRED)
    for name in names:
        importlib.import_module(name)
    if "torch" in sys.modules:
        # As bitsandbytes does when it is imported: it brings in torch's compiler, the greater part
        # of that import, and compiles nothing.
        sys.modules["torch"].compile(abs)
        if computes_on_processors_alone():
            deferral.complete()
    # What is there now stays: no fork need look through it for garbage, and copy its pages.
    gc.collect()
    gc.freeze()
    give_back()


def computes_on_processors_alone() -> bool:
    """Return whether this torch was built for no GPU, so that no import can begin one."""
    version = sys.modules["torch"].version
    return not any(getattr(version, kind, None) for kind in ("cuda", "hip", "xpu"))


def load_once(names: list[str]) -> None:
    """Import the libraries in a process that forks by itself, unless the one it comes from has."""
    # A fork has its client's environment, not that in which its libraries were imported.
    os.environ[NVML_CHECK] = "1"
    if not all(name in sys.modules for name in names):
        load(names)


def load_where_it_stays(names: list[str]) -> bool:
    """Import the libraries in a folder that stays; return whether that was done.

    The folder of `dvc exp run --temp` goes with an experiment that fails, and a library that is
    loaded in a folder that is gone may say so and end the process. Who asks for a training imports
    for itself where this failed, and says what is wrong.
    """
    here = os.getcwd()
    os.chdir("/")
    try:
        load(names)
        os.chdir(here)
    except Exception:
        if os.environ.get(SWITCH) == "1":
            raise
        return False
    return True


def give_back() -> bool:
    """Give memory that imports freed back to the system; return whether the C library can.

    A fork's training would be given it piece by piece, and its steps took a tenth longer.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return False
    return bool(trim(0))


def become(request: dict[str, Any]) -> Callable[[], None]:
    """Make this fork what a process that its client had started would be; return its work."""
    for one in HANDED_ON:
        ignored = one in request["ignored"]
        usual = signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL
        signal.signal(one, signal.SIG_IGN if ignored else usual)
    # The same, unless several folders have copies of the code.
    here, folder = owner.code_folder(), request["folder"]
    os.chdir(folder)
    sys.path[:] = [folder if one == here else one for one in sys.path]
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["words"]
    # They were made for a log that nobody reads.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    importlib.invalidate_caches()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()  # else all forks would draw alike; `random` sees to it by itself
    # The errors that the work raises are of the module as it is imported from now on.
    run = importlib.import_module("fairtune.core.errors").run

    def work() -> None:
        module = importlib.import_module(request["module"])
        getattr(module, request["function"])(request["started"])

    return lambda: run(work)


def main() -> None:
    """Import, then fork until the run is over."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    running = owner.parse(sys.argv[2])
    watched = running.descriptor() if running else None
    if watched is None:
        return
    around = surroundings()
    if not load_where_it_stays(sys.argv[3:]):
        return
    # Until here the libraries could say what they say; from here on others wait for its end.
    os.dup2(0, 2)
    server = Server(
        listener=listener,
        owner=watched,
        around=around,
        sources=sources(os.getcwd()),
        pages=resident.file_pages(),
    )
    request = server.serve()
    if request is not None:
        ending.end(ending.status_of(become(request)))


if __name__ == "__main__":
    main()

"""Processes that import once for all tests what takes seconds, and fork for each run of DVC.

usage: python -m tests.holder KIND SOCKET OWNER

A run of DVC starts a process that imports a training's libraries and forks once for each of its
trainings (`fairtune.preload.server`). In tests that process is a fork of one of these, in which it
finds them imported, and so are DVC itself and the stages besides the trainings; none of fairtune's
own modules is handed to a fork. Started by the first test that runs DVC; they end with the tests.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fairtune.core import ending
from fairtune.preload import owner, resident, server, wire
from fairtune.preload.surroundings import fixed
from tests.held import sitecustomize

FOLDER = Path(sitecustomize.__file__).parent
OURS = ("fairtune", "stages", "tests")
# What the stages import that read, at their start or later, and what DVC does.
READING = (
    "stages.compare", "stages.report", "stages.score", "dvc.cli", "dvc.analytics",
    "dvc.commands.repro", "dvc.repo", "dvc.repo.reproduce", "dvc.stage.run", "dvc.scm",
    "dvc.stage.cache", "dulwich.walk", "dulwich.patch", "dvc_data.index", "dvc_data.hashfile.build",
    "dvc_data.hashfile.checkout", "dvc.repo.commit", "dvc.repo.status", "dvc.repo.metrics.show",
    "pandas", "pyarrow.parquet", "pyarrow.compute", "scipy.stats", "scipy.optimize",
    "statsmodels.stats.multitest", "statsmodels.stats.contingency_tables",
)  # fmt: skip
TRAINING = (
    "stages.subset", "stages.encode", "pandas", "transformers.models.bert.modeling_bert",
    "transformers.conversion_mapping",
)  # fmt: skip
RAYS = ("RAY_", "SPT_NOENV", "PYTHONBREAKPOINT")
HUB, HUBS = "huggingface_hub", ("HF_",)
# Room for the words of a process that a fork stands for.
ROOM = "." * 400


def variables(environment: dict[str, str]) -> dict[str, str]:
    """Return what a process needs besides in its environment to fork from those for all tests.

    They are started, if there are none, in this environment; nothing on other systems than Linux.
    """
    run = _session()
    if run is None:
        return {}
    name = f"fairtune-tests-{run}"
    paths = [str(FOLDER), *filter(None, [environment.get("PYTHONPATH")])]
    found = {sitecustomize.HOLDER: name, "PYTHONPATH": os.pathsep.join(paths)}
    for kind in sitecustomize.HOLDERS:
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(f"\0{name}-{kind}")
            except OSError:  # another test was first
                continue
            listener.listen(64)
            words = [kind, str(listener.fileno()), str(run), ROOM]
            subprocess.Popen(
                [sys.executable, "-m", "tests.holder", *words],
                cwd=FOLDER.parent.parent,
                env={**environment, **found},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
    return found


def _session() -> owner.Process | None:
    """Return the process that runs all tests, of which this may be one of several workers."""
    if not owner.can_watch():
        return None
    return owner.find(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid())


def alike(environment: dict[str, str]) -> dict[str, str]:
    """Return what of an environment must be like that in which a holder was started.

    Libraries read it as they load, all but what Ray sets for its workers, and what the Hub's
    library alone reads where it is not loaded.
    """
    free = RAYS if HUB in sys.modules else (*RAYS, *HUBS)
    kept = fixed(environment)
    return {name: value for name, value in kept.items() if not name.startswith(free)}


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return what a process asks for, and its standard input, output, error and listener."""
    _, descriptors, _, _ = socket.recv_fds(client, 1, 4)
    with client.makefile("rb") as asked:
        return json.loads(asked.readline()), list(descriptors)


def rename(words: list[str]) -> None:
    """Let the system show other words as those that this process was started with."""
    # The fields 48 and 49 of proc_pid_stat(5); the name, the second, may hold anything.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = b"".join(word.encode() + b"\0" for word in words)[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def run_of(client: socket.socket) -> str:
    """Return the run of DVC that a process belongs to, as `FAIRTUNE_RUN` names one; '' if none."""
    size = struct.calcsize("3i")
    pid, *_ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    with suppress(psutil.Error):
        for above in psutil.Process(pid).parents():
            if above.cmdline()[1:3] == ["-m", "dvc"]:
                return str(owner.find(above.pid) or "")
    return ""


def go_on(request: dict[str, Any], descriptors: list[int], pages: list[int], run: str) -> None:
    """Be, in this fork, the process that asked, with its libraries imported."""
    os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    module, words = request["module"], request["words"]
    rename([request["python"], "-m", module, *words])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.executable = request["python"]
    if module == sitecustomize.SERVER:
        resident.touch(pages)
        words = [str(descriptors[3]), *words[1:]]
    else:
        for one in sitecustomize.HANDED_ON:
            usual = signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL
            signal.signal(one, signal.SIG_IGN if one in request["ignored"] else usual)
    if run and module != sitecustomize.SERVER:
        # What the stage starts looks for the run of DVC among its ancestors, and has others.
        os.environ.setdefault(owner.RUN, run)
    sys.argv[:] = [module, *words]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    importlib.invalidate_caches()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def load(kind: str) -> None:
    """Import what the forks of a holder are to find imported."""
    if kind == "training":
        server.load([*wire.LIBRARIES, *TRAINING])
        # At the first model that it loads Transformers compiles a thousand expressions, and keeps
        # them for the others.
        sys.modules["transformers.conversion_mapping"].get_checkpoint_conversion_mapping("bert")
        gc.freeze()
        return
    for name in READING:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


@dataclass
class Holder:
    """A process that forks for those that ask, until the tests are over."""

    listener: socket.socket
    watched: int
    alike: dict[str, str]
    """What the environment of those that ask must be like: libraries read it as they load."""
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    clients: dict[int, socket.socket] = field(default_factory=dict)
    """Of the forks, by their number, those that wait for their end."""

    def serve(self) -> tuple[dict[str, Any], list[int], str] | None:
        """Fork for each process that asks; return in the fork what it asked, None at the end."""
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.watched, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fd == self.watched:
                    return None
                if key.fileobj is not self.listener:
                    self.answer(key)
                    continue
                client, _ = self.listener.accept()
                with suppress(OSError, ValueError):
                    request, descriptors = receive(client)
                    run = run_of(client)
                    if alike(request["environment"]) != self.alike:
                        client.sendall(b"0\n")
                    elif (pid := os.fork()) == 0:
                        self.leave(client)
                        return request, descriptors, run
                    else:
                        waits = request["module"] != sitecustomize.SERVER
                        self.follow(pid, client if waits else None)
                        client.sendall(f"{pid}\n".encode())
                    for descriptor in descriptors:
                        os.close(descriptor)
                if client not in self.clients.values():
                    client.close()

    def follow(self, pid: int, client: socket.socket | None) -> None:
        """Wait for the end of a fork, and of the process that waits for it, if one does."""
        self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
        if client is not None:
            self.clients[pid] = client
            self.selector.register(client, selectors.EVENT_READ, pid)

    def answer(self, key: selectors.SelectorKey) -> None:
        """Tell a process how its fork ended, or end the fork of one that is gone."""
        pid = key.data
        if key.fd not in self.selector.get_map():
            return  # both ended at once
        self.selector.unregister(key.fileobj)
        client = self.clients.get(pid)
        if client is key.fileobj:
            del self.clients[pid]
            client.close()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        os.close(key.fd)
        _, status = os.waitpid(pid, 0)
        if client is not None:
            self.selector.unregister(client)
            del self.clients[pid]
            with client, suppress(OSError):
                client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())

    def leave(self, client: socket.socket) -> None:
        """Close in a fork what is not its own."""
        others = [key.fd for key in self.selector.get_map().values() if key.data is not None]
        self.selector.close()
        client.close()
        self.listener.close()
        os.close(self.watched)
        # Of those that wait for other forks, and of these.
        for one in self.clients.values():
            others.remove(one.fileno())
            one.close()
        for descriptor in others:
            os.close(descriptor)


def main() -> None:
    """Import the libraries, then fork for each process that asks, until the tests are over."""
    kind, number, name = sys.argv[1:4]
    listener = socket.socket(fileno=int(number))
    session = owner.parse(name)
    watched = session.descriptor() if session else None
    if watched is None:
        return
    environment = dict(os.environ)  # loading adds to it
    load(kind)
    pages = resident.file_pages() if kind == "training" else []
    asked = Holder(listener, watched, alike(environment)).serve()
    if asked is None:
        return
    request, descriptors, run = asked
    if request["module"] == sitecustomize.SERVER:
        go_on(request, descriptors, pages, run)
    else:
        ending.end(ending.status_of(lambda: go_on(request, descriptors, pages, run)))


if __name__ == "__main__":
    main()

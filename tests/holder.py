"""A process that imports a training's libraries once for all tests, and forks for each run of DVC.

usage: python -m tests.holder SOCKET OWNER

A run of DVC starts a process that imports them and forks once for each of its trainings
(`fairtune.preload.server`). In tests that process is a fork of this one, in which it finds them
imported; all else is as a user has it. Started by the first test that runs DVC; it ends with them.
"""

from __future__ import annotations

import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from fairtune.preload import owner, resident, server, wire
from fairtune.preload.surroundings import fixed
from tests.held import sitecustomize

FOLDER = Path(sitecustomize.__file__).parent
OURS = ("fairtune", "stages", "tests")


def variables(environment: dict[str, str]) -> dict[str, str]:
    """Return what a process needs besides in its environment to fork from the one for all tests.

    That process is started, if there is none, in this environment; nothing on other systems than
    Linux.
    """
    run = _session()
    if run is None:
        return {}
    name = f"fairtune-tests-{run}"
    paths = [str(FOLDER), *filter(None, [environment.get("PYTHONPATH")])]
    found = {sitecustomize.HOLDER: name, "PYTHONPATH": os.pathsep.join(paths)}
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(f"\0{name}")
        except OSError:  # another test was first
            return found
        listener.listen(64)
        subprocess.Popen(
            [sys.executable, "-m", "tests.holder", str(listener.fileno()), str(run)],
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


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return what a process asks for, and its standard input, output, error and listener."""
    _, descriptors, _, _ = socket.recv_fds(client, 1, 4)
    with client.makefile("rb") as asked:
        return json.loads(asked.readline()), list(descriptors)


def go_on(request: dict[str, Any], descriptors: list[int], pages: list[int]) -> None:
    """Be, in this fork, the process that asked, with its libraries imported."""
    os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    resident.touch(pages)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.executable = request["python"]
    sys.argv[:] = [sitecustomize.MODULE, str(descriptors[3]), *request["words"][1:]]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    runpy.run_module(sitecustomize.MODULE, run_name="__main__", alter_sys=True)


def main() -> None:
    """Import the libraries, then fork for each process that asks, until the tests are over."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    session = owner.parse(sys.argv[2])
    watched = session.descriptor() if session else None
    if watched is None:
        return
    alike = fixed(dict(os.environ))
    server.load(list(wire.LIBRARIES))
    pages = resident.file_pages()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(watched, selectors.EVENT_READ)
        while all(key.fd != watched for key, _ in selector.select()):
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            client, _ = listener.accept()
            with client, suppress(OSError, ValueError):
                request, descriptors = receive(client)
                if fixed(request["environment"]) != alike:
                    client.sendall(b"other\n")
                elif not os.fork():
                    break
                else:
                    client.sendall(b"done\n")
                for descriptor in descriptors:
                    os.close(descriptor)
        else:
            return
    client.close()
    listener.close()
    os.close(watched)
    go_on(request, descriptors, pages)


if __name__ == "__main__":
    main()

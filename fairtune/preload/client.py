"""Have a training done by a fork of a process that holds the libraries imported already.

A run (`dvc repro`, `fairtune.parallel`) starts that process (`fairtune.preload.server`) with its
first training, or while it still reads the data (`fairtune.preload.ahead`), and it ends with the
run; at a shell, where a training belongs to no run, there is none. Whatever is not as it should be
makes a training import for itself.
`FAIRTUNE_PRELOAD=0` switches it off; with 1 the shell is the run, and the reason for a plain start
is told. Linux alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fairtune.core.ahead import SWITCH
from fairtune.core.errors import UserError
from fairtune.preload import owner, wire

# How work is called that is not called by its module.
WORK = {"stages.train": "the training"}
# Signals that end a process, by name: other systems than Unix lack some.
HANDED_ON = ("SIGINT", "SIGTERM", "SIGHUP")


def elsewhere(
    module: str,
    function: str,
    *,
    started: float,
    libraries: Sequence[str] = wire.LIBRARIES,
    launching: bool = True,
) -> int | None:
    """Call a module's function with `started` in a fork of the run's preloaded process.

    Without `launching`, that is one which is there already.

    Returns:
        The fork's exit status; None where the caller is to do the work itself.

    Raises:
        UserError: the work began and was ended by a signal.
    """
    asked, run = wanted()
    if run is None:
        return None
    try:
        with connect(run, libraries, launching=launching) as server:
            request = _request(module, function, started)
            wire.send_request(server, request)
            with server.makefile("rb") as answers:
                return _follow(server, answers, what=WORK.get(module, module))
    except (OSError, ValueError) as error:
        _say(asked, str(error))
        return None


def wanted() -> tuple[str, owner.Process | None]:
    """Return what the switch says, and the run that a preloaded process would belong to, if any.

    Raises:
        UserError: the switch is not right.
    """
    asked = os.environ.get(SWITCH, "")
    if asked not in ("", "0", "1"):
        raise UserError(f"{SWITCH}: '{asked}' is not right; give 0 or 1, or leave it unset")
    if asked == "0" or not owner.can_watch():
        return asked, None
    return asked, next(iter(owner.runners()), owner.find(os.getppid()) if asked else None)


def begin(libraries: Sequence[str]) -> None:
    """Start the run's preloaded process, if there is a run and it has none.

    Raises:
        OSError: it cannot be started.
        UserError: the switch is not right.
    """
    _, run = wanted()
    if run is not None:
        start(run, libraries)


def _say(asked: str, reason: str) -> None:
    if asked == "1":
        print(f"fairtune: a plain start: {reason}", file=sys.stderr)


def _request(module: str, function: str, started: float) -> dict[str, Any]:
    from fairtune.preload.surroundings import surroundings

    return {
        "surroundings": surroundings(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "words": sys.argv,
        "ignored": [one for one in signal.Signals if signal.getsignal(one) == signal.SIG_IGN],
        "module": module,
        "function": function,
        "started": started,
    }


def address(run: owner.Process, libraries: Sequence[str]) -> str:
    """Return the name of the run's socket: an abstract one, which leaves no file behind."""
    here = [os.geteuid(), owner.code_folder(), os.readlink("/proc/self/ns/pid"), *libraries]
    return f"\0fairtune-{run}-{hashlib.sha256(repr(here).encode()).hexdigest()[:16]}"


def connect(
    run: owner.Process, libraries: Sequence[str], *, launching: bool = True
) -> socket.socket:
    """Return a connection to the run's preloaded process, started if there is none and `launching`.

    Raises:
        OSError: it cannot be had, or it is another user's.
    """
    name = start(run, libraries) if launching else address(run, libraries)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(name)
        if wire.user_of(server) != os.geteuid():
            raise PermissionError("the socket is another user's")
    except OSError:
        server.close()
        raise
    return server


def start(run: owner.Process, libraries: Sequence[str]) -> str:
    """Start the run's preloaded process if there is none; return its socket's name.

    Raises:
        OSError: it cannot be started.
    """
    name = address(run, libraries)
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(name)
        except OSError:  # another was first
            return name
        listener.listen()
        launch(listener, run, libraries)
    return name


def launch(listener: socket.socket, run: owner.Process, libraries: Sequence[str]) -> None:
    """Start the preloaded process, out of reach of the terminal's Ctrl-C."""
    # Its standard error is this process's while it imports: whether that is a terminal counts.
    words = [str(listener.fileno()), str(run), *libraries]
    subprocess.Popen(
        [sys.executable, "-m", "fairtune.preload.server", *words],
        cwd=owner.code_folder(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )


def _follow(server: socket.socket, answers: Any, *, what: str) -> int | None:
    """Wait for the end of the work, and hand on the signals that come meanwhile."""
    answer = _answer(answers)
    if answer is None or "plain" in answer:
        reason = answer["plain"] if answer else "the preloaded process ended"
        _say(os.environ.get(SWITCH, ""), reason)
        return None
    with handing_on(server):
        answer = _answer(answers)
    if answer is None:
        raise UserError(f"{what} was ended: the process that it was forked from is gone")
    status = int(answer["status"])
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (the system does so where memory runs out)" if name == "SIGKILL" else ""
        print(f"fairtune: {what} was ended by {name}{hint}", file=sys.stderr)
        return 128 - status
    return status


def _answer(answers: Any) -> dict[str, Any] | None:
    """Return the next answer, None where the other end is gone."""
    try:
        line: bytes = answers.readline()
    except OSError:
        return None
    found: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
    return found


@contextmanager
def handing_on(server: socket.socket) -> Iterator[None]:
    """Send the signals that end a process to the fork instead."""

    def send(number: int, _: Any) -> None:
        with suppress(OSError):  # it is gone, which the answer will say
            server.send(bytes([number]))

    before = {
        one: signal.signal(one, send)
        for one in map(signal.Signals.__getitem__, HANDED_ON)
        if signal.getsignal(one) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

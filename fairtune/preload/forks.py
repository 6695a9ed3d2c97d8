"""Fork for each client, tell it the end, and end a training whose client or whose run is gone."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairtune.preload import owner, resident, wire
from fairtune.preload.surroundings import differing

OURS = ("fairtune", "stages")


@dataclass(kw_only=True)
class Fork:
    """A training under way, and the client that waits for it."""

    pid: int
    descriptor: int
    client: socket.socket
    until: float | None = None
    """When it is killed, once it was asked to end."""


@dataclass(kw_only=True)
class Server:
    """Forks for each client, tells it the end, and ends a training whose client is gone."""

    listener: socket.socket
    owner: int
    """A descriptor that can be read once the run is over."""
    around: dict[str, Any]
    sources: dict[str, tuple[int, int]]
    pages: list[int]
    """Those of mapped files that are in memory."""

    def __post_init__(self) -> None:
        """Watch for clients and for the end of the run."""
        self.forks: list[Fork] = []
        self.over = False
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.selector.register(self.owner, selectors.EVENT_READ, self.end)

    def serve(self) -> dict[str, Any] | None:
        """Return None at the end of the run, and a client's request in each fork."""
        while not self.over or self.forks:
            deadlines = [fork.until for fork in self.forks if fork.until is not None]
            wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            # One at a time: what is done for one may take another off the list.
            for key, _ in self.selector.select(wait)[:1]:
                request: dict[str, Any] | None = key.data()
                if request is not None:
                    return request
            for fork in self.forks:
                if fork.until is not None and time.monotonic() >= fork.until:
                    os.kill(fork.pid, signal.SIGKILL)
                    fork.until += owner.PATIENCE_SECONDS
        return None

    def accept(self) -> dict[str, Any] | None:
        """Fork for a client; return its request in the fork."""
        client, _ = self.listener.accept()
        try:
            if wire.user_of(client) != os.geteuid():
                raise ValueError("another user")
            request, descriptors = wire.receive_request(client)
        except (OSError, ValueError):
            client.close()
            return None
        reason = differing(self.around, request["surroundings"])
        if reason is None and self.sources != sources(request["folder"]):
            reason = "fairtune's own files"
        if reason:
            wire.tell(client, plain=reason)
            client.close()
        elif self.fork(client, descriptors):
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def fork(self, client: socket.socket, descriptors: list[int]) -> bool:
        """Fork, and return whether this is the fork, which alone can talk to the client then."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            fork = Fork(pid=pid, descriptor=os.pidfd_open(pid), client=client)
            self.forks.append(fork)
            self.selector.register(client, selectors.EVENT_READ, lambda: self.hear(fork))
            self.selector.register(fork.descriptor, selectors.EVENT_READ, lambda: self.reap(fork))
            return False
        # Whatever ends the parent ends the fork: nobody else would.
        owner.end_with_parent()
        if os.getppid() != parent:
            os._exit(1)
        resident.touch(self.pages)
        reason = unfit()
        if reason:
            wire.tell(client, plain=reason)
            os._exit(0)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        for descriptor in descriptors:
            os.close(descriptor)
        wire.tell(client, pid=os.getpid())
        self.selector.close()
        os.close(self.owner)
        for one in self.forks:
            os.close(one.descriptor)
            one.client.close()
        client.close()
        self.listener.close()
        return True

    def hear(self, fork: Fork) -> None:
        """Hand on the signals that a client got, or end its training when it is gone."""
        try:
            heard = fork.client.recv(64)
        except OSError:
            heard = b""
        for number in heard:
            os.kill(fork.pid, number)
        if not heard:
            self.selector.unregister(fork.client)
            self.ask_to_end(fork)

    def ask_to_end(self, fork: Fork) -> None:
        """End a training as Ctrl-C would, and with force where that does not suffice."""
        if fork.until is None:
            fork.until = time.monotonic() + owner.PATIENCE_SECONDS
            os.kill(fork.pid, signal.SIGINT)

    def reap(self, fork: Fork) -> None:
        """Tell the client how its training ended."""
        _, status = os.waitpid(fork.pid, 0)
        with suppress(KeyError):
            self.selector.unregister(fork.client)
        self.selector.unregister(fork.descriptor)
        os.close(fork.descriptor)
        self.forks.remove(fork)
        wire.tell(fork.client, status=os.waitstatus_to_exitcode(status))
        fork.client.close()

    def end(self) -> None:
        """Take no further client, and end the trainings that are under way."""
        self.over = True
        self.selector.unregister(self.owner)
        self.selector.unregister(self.listener)
        self.listener.close()
        for fork in self.forks:
            self.ask_to_end(fork)


def sources(folder: str) -> dict[str, tuple[int, int]]:
    """Return time and size of each of fairtune's files that this process has imported.

    Args:
        folder: has them, or a copy of those that lie in this process's.
    """
    here = owner.code_folder()
    found: dict[str, tuple[int, int]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name.partition(".")[0] in OURS or name == "__main__"):
            with suppress(OSError):
                path = Path(file)
                if path.is_relative_to(here):
                    path = folder / path.relative_to(here)
                seen = path.stat()
                found[file] = (seen.st_mtime_ns, seen.st_size)
    return found


def unfit() -> str | None:
    """Return why this fork cannot train, None where it can."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if torch.cuda.is_initialized() or torch.cuda._is_in_bad_fork():
        return "CUDA began while the libraries were imported"
    return None

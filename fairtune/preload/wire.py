"""What a training's client and the preloaded process say to each other, over a Unix socket."""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import suppress
from typing import Any

LIBRARIES = ("torch", "transformers.trainer", "peft", "accelerate", "datasets", "pyarrow.parquet")
"""What a training imports that takes long."""
DEFERRED = ("bitsandbytes",)
"""Of what these import, what begins CUDA."""
# A client that has connected sends its request at once.
PATIENCE_SECONDS = 10.0
STANDARD = (0, 1, 2)


def user_of(other: socket.socket) -> int:
    """Return the number of the user at the other end; the kernel says it."""
    size = struct.calcsize("3i")
    answer = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", answer)[1])


def send_request(server: socket.socket, request: dict[str, Any]) -> None:
    """Send a request, and this process's standard input, output and error with it."""
    text = json.dumps(request).encode()
    socket.send_fds(server, [struct.pack("Q", len(text))], STANDARD)
    server.sendall(text)


def receive_request(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a request and the descriptors that came with it.

    Raises:
        OSError, ValueError: it did not come, or not whole.
    """
    client.settimeout(PATIENCE_SECONDS)
    head, descriptors, _, _ = socket.recv_fds(client, 8, len(STANDARD))
    try:
        if len(head) != 8 or len(descriptors) != len(STANDARD):
            raise ValueError("no request")
        (wanted,) = struct.unpack("Q", head)
        text = bytearray()
        # No byte beyond it: signals may follow.
        while len(text) < wanted:
            part = client.recv(min(wanted - len(text), 2**16))
            if not part:
                raise ValueError("half a request")
            text += part
        client.settimeout(None)
        if gone(client):
            raise ValueError("nobody waits for it any more")
        return json.loads(text), list(descriptors)
    except (OSError, ValueError):
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def gone(other: socket.socket) -> bool:
    """Return whether the other end is closed."""
    try:
        return not other.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def tell(client: socket.socket, **answer: Any) -> None:
    """Send a client an answer, if it is still there: `plain`, `pid` or `status`."""
    with suppress(OSError):
        client.sendall(json.dumps(answer).encode() + b"\n")

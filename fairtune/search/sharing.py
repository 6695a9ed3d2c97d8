"""Let trials compute on a GPU at the same time, instead of by turns, where NVIDIA's MPS is there.

Processes that share a GPU are given it in turns, and a training of base size does not fill it: with
the Multi-Process Service their kernels run beside one another. It is started for one search and
ends with it. Where it cannot be had the trials take turns, which costs time and nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from fairtune.hardware import nvml
from fairtune.preload import owner

PROGRAM = "nvidia-cuda-mps-control"
SWITCH = "FAIRTUNE_MPS"
PIPES, LOGS, VISIBLE = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", "CUDA_VISIBLE_DEVICES"
# Processes find the service by a socket of this name in its folder.
SOCKET = "control"
PATIENCE_SECONDS = 5.0


class Sharing:
    """The service for one search, or none; `close` ends it, also where it never began."""

    def __init__(self, *, wanted: bool) -> None:
        """Start it where it is wanted and can be had."""
        self.process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None
        self.before = {name: os.environ.get(name) for name in (PIPES, LOGS, VISIBLE)}
        # Somebody who runs the service already has set it up as they want it.
        if wanted and os.environ.get(SWITCH) != "0" and not os.environ.get(PIPES):
            with suppress(OSError, RuntimeError):
                self._start()

    def __bool__(self) -> bool:
        """Return whether trials share the GPU through it."""
        return self.process is not None

    def _start(self) -> None:
        """Start it.

        Raises:
            OSError, RuntimeError: it cannot be had.
        """
        program = shutil.which(PROGRAM)
        if program is None or sys.platform != "linux":
            return
        # The service and its clients count GPUs differently; a name means the same to both.
        gpu = nvml.uuid(nvml.handle())
        # A socket's name may have 107 letters: no folder deep down.
        self.folder = Path(tempfile.mkdtemp(prefix="fairtune-mps-", dir="/tmp"))
        os.environ |= {PIPES: str(self.folder), LOGS: str(self.folder), VISIBLE: gpu}
        self.process = subprocess.Popen(
            [program, "-f"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=owner.end_with_parent,
        )
        until = time.monotonic() + PATIENCE_SECONDS
        while not (self.folder / SOCKET).exists():
            if self.process.poll() is not None or time.monotonic() > until:
                self.close()
                return
            time.sleep(0.02)

    def close(self) -> bool:
        """End it and put the environment back; return whether it was there."""
        was = self.process is not None
        if self.process is not None:
            with suppress(ProcessLookupError):
                # Its server is in its session, and would wait for clients.
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        return was

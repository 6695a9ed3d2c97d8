"""A notebook's kernel, as a fork of the run's preloaded process where there is one.

usage: python -m fairtune.preload.kernel -f CONNECTION_FILE ...

Started by `fairtune.report.notebook`, with the words of `ipykernel_launcher`. A run without
trainings has no such process; the kernel then imports what its cells need, and no more.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from contextlib import suppress

from fairtune.preload import client, owner

STARTED = time.perf_counter()
# In a fork's environment: the process that was started in the kernel's stead.
STARTER = "FAIRTUNE_KERNEL"
# What Jupyter tells a kernel of its parent: a fork's is another.
PARENT = "JPY_PARENT_PID"


def end_with(starter: owner.Process) -> None:
    """End this process at once when another is gone: whoever kills a kernel kills that one."""
    descriptor = starter.descriptor()

    def watch() -> None:
        if descriptor is not None:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def launch(started: float) -> None:
    """Be the kernel until it is shut down."""
    from fairtune.preload import deferral

    starter = owner.parse(os.environ.pop(STARTER, ""))
    if starter is not None and starter.pid != os.getpid():
        end_with(starter)
        # A kernel without a parent tells the terminal how to quit it.
        os.environ[PARENT] = str(os.getppid())
    deferral.complete()
    from ipykernel.kernelapp import launch_new_instance

    with suppress(KeyboardInterrupt):  # Jupyter interrupts a kernel before it has it end
        launch_new_instance()


def main() -> None:
    """Have the kernel forked, or be it."""
    parent = os.environ.pop(PARENT, None)
    os.environ[STARTER] = str(owner.find(os.getpid()) or "")
    status = client.elsewhere("fairtune.preload.kernel", "launch", started=STARTED, launching=False)
    if status is not None:
        sys.exit(status)
    if parent is not None:
        os.environ[PARENT] = parent
    launch(STARTED)


if __name__ == "__main__":
    main()

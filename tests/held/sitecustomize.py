"""Python reads this as it starts, where a test's environment names the folder in PYTHONPATH.

A process that would import for seconds goes on as a fork of one that has imported the same already
(`tests.holder`). This one ends where nobody waits for it, and else stays to hand signals on and to
end as the fork does. Whatever is not as it should be leaves it to import by itself.
"""

import contextlib
import os
import signal
import sys

SERVER = "fairtune.preload.server"
AHEAD = "fairtune.preload.ahead"
HOLDER = "FAIRTUNE_TESTS_HOLDER"
"""In the environment: the beginning of the holders' addresses."""
FORKS = "FAIRTUNE_TESTS_FORKS"
"""In the environment where a fork may stand for a process of DVC or of a stage."""
HOLDERS = {
    "training": (SERVER, "stages.subset", "stages.encode", AHEAD),
    "reading": (
        *(f"stages.{name}" for name in ("sources", "search", "rates", "record", "score")),
        *("stages.compare", "stages.report", "dvc"),
    ),
}
"""The holders, and the modules that each is forked for. A training comes from its own server."""
COMMANDS = ("repro", "status", "commit", "metrics", "params", "plots", "remote", "push", "pull")
"""Those of DVC that start no process which outlives them."""
HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def holder() -> str | None:
    """Return the address of the process that this one is to be forked from, if any."""
    words, name = sys.orig_argv[1:], os.environ.get(HOLDER)
    if not name or words[:1] != ["-m"] or len(words) < 2:
        return None
    module = words[1]
    kind = next((kind for kind, modules in HOLDERS.items() if module in modules), None)
    if kind is None or (module != SERVER and FORKS not in os.environ):
        return None
    # Unless that is switched off, the stage encode goes on as the second, with its name.
    if module == "stages.encode" and os.environ.get("FAIRTUNE_PRELOAD") != "0":
        return None
    if module == AHEAD and len(words) == 2:
        return None
    command = next((word for word in words[2:] if not word.startswith("-")), None)
    if module == "dvc" and command not in COMMANDS:
        return None
    return f"\0{name}-{kind}"


def hand_over(address: str) -> int | None:
    """Ask the process behind a socket to go on in this one's place.

    Returns:
        The status to end with, negative for a signal; None where this process is to do the work.
    """
    import json
    import socket

    module, words = sys.orig_argv[2], sys.orig_argv[3:]
    ignored = [one for one in HANDED_ON if signal.getsignal(one) == signal.SIG_IGN]
    request = {
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "python": sys.executable,
        "module": module,
        "words": words,
        "ignored": ignored,
    }
    descriptors = [0, 1, 2, *([int(words[0])] if module == SERVER else [])]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        socket.send_fds(client, [b"x"], descriptors)
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile("rb") as answers:
            pid = int(answers.readline())
            if not pid:
                return None
            if module == SERVER:
                return 0
            for one in set(HANDED_ON) - set(ignored):
                signal.signal(one, lambda number, _: send(pid, number))
            return int(answers.readline())


def send(pid: int, number: int) -> None:
    """Hand a signal on."""
    with contextlib.suppress(ProcessLookupError):  # its end is about to be told
        os.kill(pid, number)


def main() -> None:
    """Hand this process's work over, or leave it be."""
    address = holder()
    if address is None:
        return
    try:
        status = hand_over(address)
    except (OSError, ValueError):
        return
    if status is None:
        return
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main()

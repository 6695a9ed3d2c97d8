"""Hand errands to Ray, listen to all of them at once, and try anew what can be tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from fairtune.cluster import bundle, errand, stages
from fairtune.cluster.errand import Blob, Errand
from fairtune.cluster.intake import Intake, OtherInputsError, SpoiltError
from fairtune.cluster.keeper import Keepers
from fairtune.cluster.remote import Remote, RemoteError
from fairtune.cluster.view import View
from fairtune.core.disk import WORDS as DISK_WORDS
from fairtune.core.errors import one_line
from fairtune.core.shortage import MEMORY_WORDS
from fairtune.preload import client

LOGS = Path(".dvc/tmp/cluster")
ATTEMPTS = 3
"""The first, and two elsewhere."""
LISTEN_SECONDS = 0.5
# So many chunks may wait for the driver: of each task, 64 MiB at most are under way.
UNDER_WAY = 4
NODE_ID = "ray.io/node-id"
MISTAKE = "fairtune:"
"""How a line begins that names a user's mistake, unless memory or disk is short."""
ENDED = ("fairtune: interrupted", f"fairtune: {client.WORK['stages.train']} was ended")
"""How one begins that says that something else ended a training."""


@ray.remote(max_retries=0, max_calls=1)
def work(
    task: Errand, parts: Mapping[str, Sequence[Any]], keepers: Mapping[str, str]
) -> Iterator[errand.Send]:
    """Run an errand on a node; a process for each, so that nothing of another is in its memory."""

    def read(blob: Blob) -> Iterator[bytes]:
        for part in parts[blob.md5]:
            yield ray.get(part)

    node = ray.get_runtime_context().get_node_id()
    yield "node", node
    yield from errand.run(task, read, keeper=keepers.get(node))


@dataclass(kw_only=True)
class Attempt:
    """An errand under way."""

    task: Errand
    number: int
    stream: Any
    intake: Intake
    node: str | None = None
    host: str = ""
    problem: str | None = None
    final: bool = False
    """Whether it would fail anywhere."""
    seconds: float | None = None
    """Of the work on the node; None until it is done."""


@dataclass(kw_only=True)
class Dispatcher:
    """Runs errands on a cluster."""

    options: Mapping[str, Any]
    """What Ray is to give a task: `num_gpus`, `num_cpus`."""
    nodes: Callable[[], Sequence[str]]
    """Returns the ids of the nodes at hand that can run tasks."""
    cache: Path
    view: View
    keepers: Keepers = field(default_factory=Keepers)
    parts: dict[str, list[Any]] = field(default_factory=dict)
    """The content of each file by its MD5, in Ray's object store."""
    avoid: dict[str, set[str]] = field(default_factory=dict)
    """The nodes on which a stage has failed."""
    failures: dict[str, str] = field(default_factory=dict)
    received: int = 0
    """Bytes that came through Ray."""
    fetched: int = 0
    """Bytes that came from a DVC remote."""
    fetching: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    fetches: list[Future[None]] = field(default_factory=list)

    def run(self, tasks: Sequence[Errand]) -> dict[str, str]:
        """Run all; return what became of those that failed: stage -> reason."""
        LOGS.mkdir(parents=True, exist_ok=True)
        under_way = [self.start(task, 1) for task in tasks]
        try:
            while under_way:
                streams = {attempt.stream: attempt for attempt in under_way}
                ready, _ = ray.wait(list(streams), num_returns=1, timeout=LISTEN_SECONDS)
                self.view.tick()
                for stream in ready:
                    attempt = streams[stream]
                    if self.listen(attempt):
                        continue
                    under_way.remove(attempt)
                    again = self.over(attempt)
                    if again is not None:
                        under_way.append(again)
            for fetch in self.fetches:
                fetch.result()
        finally:
            self.fetching.shutdown(wait=False, cancel_futures=True)
            for attempt in under_way:
                attempt.intake.close()
                ray.cancel(attempt.stream, force=True)
        return self.failures

    def start(self, task: Errand, number: int) -> Attempt:
        """Hand an errand to Ray, to run where it has not failed."""
        options = dict(self.options)
        avoid = self.avoid.get(task.stage, set())
        if avoid and set(self.nodes()) - avoid:
            options["label_selector"] = {NODE_ID: f"!in({','.join(sorted(avoid))})"}
        stream = work.options(
            num_returns="streaming",
            name=task.stage,
            _generator_backpressure_num_objects=UNDER_WAY,
            **options,
        ).remote(task, self.contents(task), self.keepers.processes())
        self.view.waits(task.stage)
        mode = "wb" if number == 1 else "ab"
        with (LOGS / f"{task.stage}.log").open(mode):
            pass
        intake = Intake(cache=self.cache, locked=task.locked, whole=task.remote is None)
        return Attempt(task=task, number=number, stream=stream, intake=intake)

    def contents(self, task: Errand) -> dict[str, list[Any]]:
        """Return where Ray holds what the errand needs, having put there what it does not hold."""
        if task.remote is not None:
            return {}
        for blob in [*task.blobs, *task.model]:
            if blob.md5 not in self.parts and not self._shared(task, blob):
                self.parts[blob.md5] = [ray.put(part) for part in bundle.chunks(blob)]
        wanted = {blob.md5 for blob in [*task.blobs, *task.model]}
        return {md5: self.parts[md5] for md5 in wanted if md5 in self.parts}

    def _shared(self, task: Errand, blob: Blob) -> bool:
        """Return whether the nodes find a file in the cache that they share."""
        if task.shared_cache is None:
            return False
        return errand.cached(task.shared_cache, blob.md5).is_file()

    def listen(self, attempt: Attempt) -> bool:
        """Take in the next that a task tells; return whether it may tell more."""
        try:
            kind, content = ray.get(next(attempt.stream))
            self.take(attempt, kind, content)
        except StopIteration:
            if attempt.seconds is None and attempt.problem is None:
                attempt.problem = "its task ended without a result"
            return False
        except SpoiltError as error:
            attempt.problem = str(error)
            attempt.final = isinstance(error, OtherInputsError)
            ray.cancel(attempt.stream, force=True)
            return False
        except RayError as error:
            attempt.problem = f"{type(error).__name__}: {one_line(error)[:160]}"
            return False
        return True

    def take(self, attempt: Attempt, kind: str, content: Any) -> None:
        """Take in one thing that a task tells."""
        stage = attempt.task.stage
        if kind == "node":
            attempt.node = content
            # Where a node came late, for the tasks that follow there.
            self.keepers.begin(content)
        elif kind == "on":
            attempt.host = content
            self.view.runs(stage, content, attempt.number)
        elif kind == "log":
            with (LOGS / f"{stage}.log").open("a", encoding="utf-8") as file:
                file.write(content)
        elif kind == "file":
            attempt.intake.begin(*content)
        elif kind == "chunk":
            attempt.intake.chunk(content)
        elif kind == "failed":
            attempt.problem, attempt.final = self.reason(stage, content)
        elif kind == "done":
            attempt.seconds = content

    def fetch(self, attempt: Attempt, remote: Remote) -> None:
        """Fetch the outputs of a task that is done.

        Where that fails, nothing is lost: they are fetched once more in the end, or by the next
        call, as DVC's run cache has the task's entry.
        """
        try:
            self.fetched += remote.fetch(attempt.intake.outs)
        except RemoteError as error:
            self.view.say(f"{attempt.task.stage}: its outputs could not be fetched yet: {error}")

    def came(self) -> str:
        """Return in words how much came, and on which way."""
        through = f"{self.received / 2**20:.1f} MiB"
        if self.fetched:
            through += f" through Ray, {self.fetched / 2**20:.1f} MiB from DVC's remote"
        return through

    def reason(self, stage: str, content: Any) -> tuple[str, bool]:
        """Return why a stage failed, and whether it would fail anywhere."""
        if isinstance(content, str):
            return content, False
        said = stages.first_error(LOGS / f"{stage}.log")
        short = (*MEMORY_WORDS, "disk", *DISK_WORDS)
        passing = any(words.lower() in said.lower() for words in short)
        mistake = said.startswith(MISTAKE) and not said.startswith(ENDED)
        return said, mistake and not passing

    def over(self, attempt: Attempt) -> Attempt | None:
        """Count a task that is over; return its next attempt where there is one."""
        stage = attempt.task.stage
        attempt.intake.close()
        self.received += attempt.intake.received
        if attempt.seconds is not None and attempt.intake.entries:
            self.view.done(stage, attempt.seconds)
            if attempt.task.remote is not None:
                # Beside this loop: tasks that nobody listens to wait, and hold their nodes.
                self.fetches.append(self.fetching.submit(self.fetch, attempt, attempt.task.remote))
            return None
        problem = attempt.problem or "no entry of DVC's run cache came with its outputs"
        with (LOGS / f"{stage}.log").open("a", encoding="utf-8") as file:
            file.write(f"\n[attempt {attempt.number}: {problem}]\n")
        if attempt.node is not None:
            self.avoid.setdefault(stage, set()).add(attempt.node)
        if attempt.final or attempt.number == ATTEMPTS:
            self.failures[stage] = problem
            self.view.failed(stage, problem)
            return None
        self.view.again(stage, attempt.host, problem)
        time.sleep(LISTEN_SECONDS)
        return self.start(attempt.task, attempt.number + 1)

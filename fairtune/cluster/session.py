"""One stay on a cluster: join or start it, look at its nodes, run the stale stages of a kind."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Ray counts its users and reports home unless it is told, before it is loaded, not to.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray

from fairtune.cluster import bundle, nodes, stages
from fairtune.cluster.dispatch import LOGS, Dispatcher
from fairtune.cluster.keeper import Keepers
from fairtune.cluster.remote import Remote
from fairtune.cluster.view import View
from fairtune.core import ahead, params
from fairtune.core.errors import UserError, one_line
from fairtune.core.params import Params

PASSED_ON = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DVC_NO_ANALYTICS", ahead.SWITCH)
"""Of the driver's environment, what the tasks get."""
LOOK_SECONDS = 120.0
ANSWER_SECONDS = 10.0


@dataclass(kw_only=True)
class Session:
    """A cluster that stages run on; it is joined when the first of them is stale."""

    address: str | None
    """None starts Ray on this host alone."""
    cpus: int | None
    """Cores of a task where no node has a GPU; None: all of a node."""
    code: Path
    """An empty folder."""
    remote: Remote | None = None
    """A DVC remote to exchange files through; None: Ray carries them."""
    joined: bool = False
    study: Params = field(default_factory=params.load)
    options: dict[str, Any] = field(default_factory=dict)
    shared_cache: str | None = None
    parts: dict[str, list[Any]] = field(default_factory=dict)
    keepers: Keepers = field(default_factory=Keepers)

    def run(self, kind: str) -> None:
        """Run the stale stages of a kind that DVC's run cache does not hold.

        Raises:
            UserError: the nodes cannot run them, or some failed; what others gave is kept.
        """
        names = bundle.restored(stages.stale(kind), self.remote)
        if not names:
            return
        self.join()
        # What the nodes share needs no other way.
        remote = self.remote if self.shared_cache is None else None
        bundler = bundle.Bundler(study=self.study, shared_cache=self.shared_cache, remote=remote)
        errands = bundler.errands(names)
        view = View(kind, len(names), self.slots())
        try:
            dispatcher = Dispatcher(
                options=self.options,
                nodes=lambda: [node["NodeID"] for node in self.able()],
                cache=bundle.cache_folder(),
                view=view,
                parts=self.parts,
                keepers=self.keepers,
            )
            lost = dispatcher.run(errands)
            failures = {name: lost[name] for name in names if name in lost}
        finally:
            view.close()
        print(f"cluster: {len(names) - len(failures)} of {len(names)} done; "
              f"{dispatcher.came()} came back")  # fmt: skip
        for stage, reason in failures.items():
            print(f"cluster: {stage}: {reason} (log: {LOGS / stage}.log)", file=sys.stderr)
        away = bundle.restored([name for name in names if name not in failures], remote)
        if away and remote:
            raise UserError(f"{', '.join(away)}: their outputs did not come whole from DVC's "
                            f"remote '{remote.name}'; run again")  # fmt: skip
        if failures:
            raise UserError(
                f"{', '.join(failures)} failed, see {LOGS}; the others' results are kept"
            )

    def join(self) -> None:
        """Join the cluster, or start one; look at its nodes.

        Raises:
            UserError: there is none at the address, or its nodes do not fit the study.
        """
        if self.joined:
            return
        reachable(self.address)
        bundle.code(self.code)
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            context: Any = ray.init(
                address=self.address or "local",
                runtime_env={"working_dir": str(self.code), "env_vars": passed},
                log_to_driver=False,
                configure_logging=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--address: '{self.address}': {one_line(error)}; begin one: `ray start --head`"
            ) from error
        self.joined = True
        if context.dashboard_url:
            print(f"cluster: Ray's dashboard: http://{context.dashboard_url}")
        self.choose()
        self.look()

    def able(self) -> list[dict[str, Any]]:
        """Return the nodes at hand that can run a task, as Ray describes them."""
        wanted = "GPU" if "num_gpus" in self.options else "CPU"
        alive = [node for node in ray_nodes() if node["Alive"]]
        return [node for node in alive if node["Resources"].get(wanted, 0) >= 1]

    def choose(self) -> None:
        """Choose what a task takes: a GPU and its share of the cores, or the cores of a node.

        Raises:
            UserError: no node has either.
        """
        alive = [node["Resources"] for node in ray_nodes() if node["Alive"]]
        with_gpu = [node for node in alive if node.get("GPU", 0) >= 1]
        if with_gpu:
            share = min(int(node.get("CPU", 1) // node["GPU"]) for node in with_gpu)
            self.options = {"num_gpus": 1, "num_cpus": max(1, share)}
            return
        cores = [int(node["CPU"]) for node in alive if node.get("CPU", 0) >= 1]
        if not cores:
            raise UserError("the cluster has neither GPUs nor cores for a task; add nodes to it")
        if self.cpus is not None and self.cpus > max(cores):
            raise UserError(f"--cpus: {self.cpus} is too many; the largest node has {max(cores)}")
        self.options = {"num_cpus": self.cpus or min(cores)}

    def slots(self) -> int:
        """Return how many tasks the nodes at hand run at once."""

        def fits(resources: Mapping[str, float]) -> int:
            return int(min(
                resources.get(name, 0) // self.options[key]
                for name, key in (("GPU", "num_gpus"), ("CPU", "num_cpus"))
                if key in self.options
            ))  # fmt: skip

        return sum(fits(node["Resources"]) for node in self.able())

    def look(self) -> None:
        """Look at every node that can run a task, and find out whether all share a cache.

        Raises:
            UserError: they do not fit the study, or one does not answer.
        """
        token = bundle.cache_folder() / f"fairtune-{secrets.token_hex(8)}"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.touch()
        try:
            asked = nodes.Asked(
                packages=nodes.packages(), model=bundle.own_model(self.study), token=str(token)
            )
            seen = self._answers(asked)
        finally:
            token.unlink()
        here = nodes.look(asked)
        nodes.check(
            here,
            seen,
            model=self.study.model.name,
            mixed=self.study.compare.allow_mixed_devices,
        )
        # A cache on this host alone is no shared one, though the host be a node as well.
        others = {node.host for node in seen} - {here.host}
        if others and all(node.shares_cache for node in seen):
            self.shared_cache = str(bundle.cache_folder())
            print(f"cluster: all nodes see {self.shared_cache}: results need not be sent")
        print(f"cluster: {len(seen)} node(s), {self.slots()} task(s) at once")

    def _answers(self, asked: nodes.Asked) -> Sequence[nodes.Seen]:
        """Return what each node says of itself."""
        ids = [node["NodeID"] for node in self.able()]
        try:
            return self.keepers.look(ids, asked, seconds=LOOK_SECONDS)
        except ray.exceptions.RayError as error:
            raise UserError(f"a node does not answer: {one_line(error)[:200]}") from error

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self.joined:
            # What belongs to them ends now, and not when Ray has ended.
            self.keepers.end()
            ray.shutdown()
            self.joined = False


def reachable(address: str | None) -> None:
    """Check that something answers at an address, for which Ray would wait five minutes.

    Raises:
        UserError: nothing does.
    """
    host, _, port = (address or "").rpartition(":")
    if not host:
        return
    if not port.isdigit() or "/" in host:
        raise UserError(f"--address: '{address}' is not right; give auto or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address: '{address}' does not answer ({one_line(error)}); begin a cluster: "
            "`ray start --head`"
        ) from error


def ray_nodes() -> list[dict[str, Any]]:
    """Return the nodes that the cluster has or had, as Ray describes them."""
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found

"""Trainings on a Ray cluster of three nodes, all of them on this machine, under real DVC."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairtune.cluster import bundle, dispatch, errand, nodes, session
from fairtune.cluster import environment as cluster_environment
from fairtune.cluster.errand import Blob, Errand
from fairtune.cluster.intake import Intake, SpoiltError
from fairtune.cluster.view import View
from fairtune.core import ahead
from fairtune.core.errors import UserError
from fairtune.preload import owner
from tests.repositories import ROOT, Repository, copy, forking, inside, until

NODES = 3
STORE_BYTES = 80 * 2**20
BEGUN = "        manifest = files.read_json("
"""A line of the stage `train`, within the folder that it fills, before which a test waits."""
STAGES = ["train@ia3-1", "train@ia3-2", "train@lora-1", "train@lora-2"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and three nodes of one core each."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False,
            "object_store_memory": STORE_BYTES}  # fmt: skip
    made, answered = [], signal.getsignal(signal.SIGTERM)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in forking().items():
                patch.setenv(name, value)
            patch.delenv("PYTEST_CURRENT_TEST", raising=False)
            patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
            patch.setenv("RAY_health_check_period_ms", "500")
            patch.setenv("RAY_health_check_failure_threshold", "3")
            made.append(Cluster(initialize_head=True, head_node_args=head))  # type: ignore
            for _ in range(NODES):
                made[0].add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        yield made[0]
    finally:
        for found in made:
            found.shutdown()
        # Else Ray would answer it: a fork of this process that is ended would go on with the tests.
        signal.signal(signal.SIGTERM, answered)


@pytest.fixture
def repository(encoded: Repository, tmp_path: Path) -> Repository:
    """A tiny study of two methods and two seeds, none of them trained."""
    found = copy(encoded, tmp_path)
    # The copy has no lock of requirements; the nodes are held against it.
    (found.root / "requirements.txt").write_text((ROOT / "requirements.txt").read_text())
    found.edit("seeds", [1, 2])
    return found


def begin(repository: Repository, cluster: Any, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fairtune.cluster", "--address", cluster.address, *words],
        cwd=repository.root,
        env=forking(),
        stdout=(repository.root / ".dvc/tmp/printed").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def printed(repository: Repository) -> str:
    return (repository.root / ".dvc/tmp/printed").read_text()


def waits(repository: Repository, stage: str) -> None:
    """Let a training wait, wherever it runs, until a file is there."""
    file = repository.root / "stages/train.py"
    text = file.read_text()
    assert text.count(BEGUN) == 1
    go = repository.root / "go"
    method, seed = stage.removeprefix("train@").split("-")
    wait = (
        f"        while (name, seed) == ({method!r}, {seed}) and not __import__('pathlib')"
        f".Path({str(go)!r}).exists():\n            time.sleep(0.05)\n"
    )
    file.write_text(text.replace(BEGUN, wait + BEGUN))


def notes_parents(repository: Repository) -> None:
    """Let each training note the process that it was forked from, wherever it runs."""
    file = repository.root / "stages/train.py"
    note = repr(str(repository.root / "parents"))
    text = f"        print(name, seed, os.getppid(), file=open({note}, 'a'))\n"
    stage = file.read_text().replace("import sys\n", "import os\nimport sys\n", 1)
    file.write_text(stage.replace(BEGUN, text + BEGUN))


def parents(repository: Repository) -> dict[str, int]:
    """Return the process that each training was forked from last."""
    lines = (repository.root / "parents").read_text().splitlines()
    return {f"train@{name}-{seed}": int(pid) for name, seed, pid in map(str.split, lines)}


def tasks() -> list[Path]:
    """Return the folders in which trainings are under way on the nodes."""
    import tempfile

    return [path.parent for path in Path(tempfile.gettempdir()).glob("fairtune-task-*/models")]


def words(pid: int) -> list[str]:
    """Return what a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def node_of(folder: Path, cluster: Any) -> Any:
    """Return the node whose process works in a folder."""
    import psutil

    pid = int(folder.name.rpartition("-")[2].partition(":")[0])
    above = {parent.pid for parent in psutil.Process(pid).parents()}
    for node in cluster.worker_nodes:
        raylets = node.all_processes["raylet"]
        if raylets[0].process.pid in above:
            return node
    raise AssertionError("no node's process works there")


def test_nodes_train_at_once_one_dies_the_driver_dies_and_nothing_finished_is_lost(
    repository: Repository, cluster: Any
) -> None:
    notes_parents(repository)
    waits(repository, "train@ia3-2")
    process = begin(repository, cluster)
    until(lambda: "train@lora-2 done" in printed(repository), 120)
    said = printed(repository)
    # Three run at once: the fourth waits for one of them.
    before = said.partition(" done after")[0]
    assert before.count(" runs on ") == NODES
    # And it is forked from the same process as the one before it on that node.
    forked = parents(repository)
    assert set(forked) == set(STAGES)
    assert len(set(forked.values())) == NODES
    assert all("fairtune.preload.server" in " ".join(words(pid)) for pid in forked.values())
    (folder,) = until(tasks)
    cluster.remove_node(node_of(folder, cluster), allow_graceful=False)
    until(lambda: "train@ia3-2 failed on" in printed(repository), 60)
    until(lambda: owner.find(forked["train@ia3-2"]) is None)
    until(lambda: "(attempt 2)" in printed(repository), 60)

    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a dead driver's tasks had begun ends with it.
    until(lambda: not any(inside(folder) for folder in tasks()), 60)
    until(lambda: not any(map(owner.find, parents(repository).values())))
    (repository.root / "go").touch()
    kept = {stage for stage in STAGES if f"{stage} done" in said}
    assert kept == set(STAGES) - {"train@ia3-2"}

    process = begin(repository, cluster)
    assert process.wait(240) == 0, printed(repository)
    said = printed(repository)
    assert "train@ia3-2 done" in said
    assert not any(f"{stage} runs on" in said for stage in kept)
    assert "cluster: 1 of 1 done" in said
    until(lambda: owner.find(parents(repository)["train@ia3-2"]) is None)
    for stage in STAGES:
        assert f"Running stage '{stage}'" not in said
        assert f"Stage '{stage}' didn't change, skipping" in said
    assert repository.status() == {}
    assert repository.repro("record") == []
    record = json.loads((repository.root / "models/lora/1/run.json").read_text())
    assert record["device"]["node"]

    serial = clone_of(repository)
    serial.repro("train@lora-1")
    ours, theirs = (
        one.root.joinpath("models/lora/1/predictions.parquet").read_bytes()
        for one in (repository, serial)
    )
    assert ours == theirs


def clone_of(repository: Repository) -> Repository:
    """Return a copy that has trained nothing and has nothing of it in its cache."""
    import shutil

    root = repository.root.with_name(f"{repository.root.name}-serial")
    found = copy(repository, root)
    shutil.rmtree(root / ".dvc/cache/runs")
    shutil.rmtree(root / "models")
    (root / "dvc.lock").write_text(
        (root / "dvc.lock").read_text().replace("train@lora-1:", "train@lora-9:")
    )
    return found


def test_a_mistake_is_named_and_not_tried_again_and_the_others_are_kept(
    repository: Repository, cluster: Any
) -> None:
    repository.edit("methods.ia3.rr", 3)
    process = begin(repository, cluster)
    assert process.wait(240) == 1
    said = printed(repository)
    assert "train@ia3-1 FAILED: fairtune: methods.ia3.rr: unknown key" in said
    assert "is tried anew" not in said
    assert "train@ia3-1, train@ia3-2 failed" in said
    assert "Traceback" not in said
    assert "unknown key" in (repository.root / ".dvc/tmp/cluster/train@ia3-1.log").read_text()
    assert bundle_restores(repository, ["train@lora-1", "train@ia3-1"]) == ["train@ia3-1"]


def bundle_restores(repository: Repository, names: list[str]) -> list[str]:
    import contextlib

    with contextlib.chdir(repository.root):
        return bundle.restored(names)


def test_inputs_and_weights_go_through_a_remote_of_dvc_where_it_is_asked_for(
    repository: Repository, cluster: Any, tmp_path: Path
) -> None:
    repository.edit("seeds", [1])
    storage = tmp_path.with_name(f"{tmp_path.name}-storage")
    repository.dvc("remote", "add", "--default", "storage", str(storage))
    process = begin(repository, cluster, "--remote")
    assert process.wait(240) == 0, printed(repository)
    said = printed(repository)
    assert "cluster: 2 of 2 done; 0.0 MiB through Ray, " in said
    assert "MiB of inputs went to DVC's remote 'storage'" in said
    assert "Running stage 'train@" not in said
    assert repository.status() == {}
    for name in ("encoder/model.safetensors", "models/lora/1/predictions.parquet"):
        content = (repository.root / name).read_bytes()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert errand.cached(storage, md5).read_bytes() == content
    # Of the run cache, the two entries that came of the tasks, and none of the stages before them.
    assert len([path for path in (storage / "runs").rglob("*") if path.is_file()]) == 2


def test_ctrl_c_ends_all_tasks(repository: Repository, cluster: Any) -> None:
    waits(repository, "train@ia3-1")
    process = begin(repository, cluster)
    (folder,) = until(lambda: [one for one in tasks() if (one / "models/ia3/1.part").exists()], 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    until(lambda: not inside(folder), 30)


def test_what_a_killed_task_left_is_removed_and_what_another_works_in_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    start = tmp_path / f"{errand.PREFIX}{os.getuid()}-"
    gone, busy = (f"{start}{process}" for process in ("1:0", owner.find(1)))
    for folder in (gone, busy):
        Path(folder).mkdir()
        Path(folder, errand.LOG).touch()
    with errand._folder() as folder:
        left = {str(path) for path in tmp_path.iterdir()}
        assert left == {str(folder), busy}
        assert Path(busy, errand.LOG).exists()
    assert not folder.exists()


def test_a_stage_gets_the_environment_of_its_node_and_nothing_of_rays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_JOB_ID", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), "/node/packages"]))
    for _ in range(2):
        found = cluster_environment.of_stage(None)
        assert not [name for name in found if name.startswith("RAY_")]
        assert found["PYTHONPATH"] == "/node/packages"
        # Twice the same: a training is forked only from a process of its own environment.
        monkeypatch.setenv("PATH", found["PATH"])
    assert found["PATH"].split(os.pathsep).count(str(Path(sys.executable).parent)) == 1


def test_a_stage_shares_its_imports_through_its_keeper_while_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ahead.SWITCH, raising=False)
    this = str(owner.find(os.getpid()))
    keeper = subprocess.Popen(["sleep", "60"])
    name = str(owner.find(keeper.pid))
    found = cluster_environment.of_stage(name)
    assert (found[owner.RUN], found[owner.CODE]) == (name, str(tmp_path))
    assert ahead.SWITCH not in found
    keeper.kill()
    keeper.wait()
    for gone in (name, None):
        alone = cluster_environment.of_stage(gone)
        assert (alone[owner.RUN], alone[ahead.SWITCH]) == (this, "0")
        assert owner.CODE not in alone


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:many", "ray://host:10001"])
def test_an_address_without_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=f"--address: '{address}'"):
        session.reachable(address)


SEEN = nodes.Seen(
    host="a", python="3.11", versions={"torch": "2.13.0", "peft": "0.19.1"}, gpus=["H200"],
    processor="EPYC", model_md5=None, shares_cache=False,
)  # fmt: skip


def seen(**changes: Any) -> nodes.Seen:
    from dataclasses import replace

    return replace(SEEN, host="b", **changes)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"versions": {"torch": "2.12.0", "peft": "0.19.1"}}, r"node b: torch 2\.12\.0 \(here 2"),
        ({"versions": {"torch": "2.13.0"}}, r"node b: peft not installed \(here 0\.19\.1\)"),
        ({"python": "3.12"}, r"node b: Python 3\.12, and 3\.11 here"),
        ({"gpus": ["H100"]}, r"the nodes have H200 \(a\), H100 \(b\)"),
        ({"gpus": []}, r"the nodes have H200 \(a\), EPYC \(b\)"),
        ({"model_md5": "0"}, r"model\.name: '/m': node b has other files there"),
    ],
)
def test_nodes_that_do_not_fit_are_refused_by_name(other: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        nodes.check(SEEN, [SEEN, seen(**other)], model="/m", mixed=False)


def test_nodes_of_one_kind_fit() -> None:
    nodes.check(SEEN, [SEEN, seen()], model="m", mixed=False)


def test_nodes_of_several_kinds_fit_where_the_study_allows_them_and_other_packages_do_not() -> None:
    nodes.check(SEEN, [SEEN, seen(gpus=["H100"])], model="m", mixed=True)
    with pytest.raises(UserError, match="torch"):
        nodes.check(SEEN, [SEEN, seen(gpus=["H100"], versions={})], model="m", mixed=True)


def test_this_machine_is_seen_with_its_packages_and_its_model(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("x")
    asked = nodes.Asked(packages=["pytest", "no-such"], model=str(tmp_path), token=None)
    found = nodes.look(asked)
    assert found.versions == {"pytest": pytest.__version__, "no-such": None}
    (tmp_path / "weights").write_text("y")
    assert found.model_md5 != nodes.look(asked).model_md5
    assert not found.shares_cache


LOCKED = {"cmd": "train", "deps": [{"path": "data", "md5": "1"}]}
MD5 = "9dd4e461268c8034f5c8564e155c67a6"  # of b"x"


def taken(intake: Intake, name: str, content: bytes) -> None:
    intake.begin(name, len(content))
    if content:
        intake.chunk(content)


def test_what_comes_is_kept_where_its_hash_is_its_name(tmp_path: Path) -> None:
    intake = Intake(cache=tmp_path, locked=LOCKED)
    taken(intake, f".dvc/cache/files/md5/{MD5[:2]}/{MD5[2:]}", b"x")
    kept = tmp_path / "files/md5" / MD5[:2] / MD5[2:]
    assert kept.read_bytes() == b"x"
    assert kept.stat().st_mode & 0o777 == 0o444
    with pytest.raises(SpoiltError, match="came with the hash"):
        taken(intake, f".dvc/cache/files/md5/{MD5[:2]}/{MD5[2:]}0", b"x")
    assert not list(tmp_path.rglob("*.part"))


def test_two_tasks_that_send_the_same_file_at_once_do_not_write_into_each_other(
    tmp_path: Path,
) -> None:
    content = bytes(range(256)) * 8
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    name = f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"
    one, other = (Intake(cache=tmp_path, locked=LOCKED) for _ in range(2))
    one.begin(name, len(content))
    one.chunk(content[:1000])
    other.begin(name, len(content))
    other.chunk(content[:10])
    one.chunk(content[1000:])
    kept = tmp_path / "files/md5" / md5[:2] / md5[2:]
    assert kept.read_bytes() == content
    other.chunk(content[10:])
    assert kept.read_bytes() == content
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize("name", ["../out", ".dvc/cache/files/../../../x", "params.yaml", "/etc/x"])
def test_what_is_no_part_of_a_result_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpoiltError, match="no part of a result"):
        Intake(cache=tmp_path, locked=LOCKED).begin(name, 1)


def entry(**changes: Any) -> bytes:
    return json.dumps({**LOCKED, "outs": [{"path": "models", "md5": MD5}], **changes}).encode()


def test_an_entry_of_other_inputs_or_without_its_outputs_is_refused(tmp_path: Path) -> None:
    intake = Intake(cache=tmp_path, locked=LOCKED)
    name = ".dvc/cache/runs/ab/abc/def"
    with pytest.raises(SpoiltError, match=f"its output {MD5} did not come"):
        taken(intake, name, entry())
    taken(intake, f".dvc/cache/files/md5/{MD5[:2]}/{MD5[2:]}", b"x")
    with pytest.raises(SpoiltError, match="it ran with other deps: data"):
        taken(intake, name, entry(deps=[{"path": "data", "md5": "2"}]))
    assert intake.entries == 0
    taken(intake, name, entry())
    assert intake.entries == 1


def dispatcher(tmp_path: Path) -> dispatch.Dispatcher:
    view = View("train", 2, 1)
    return dispatch.Dispatcher(options={}, nodes=lambda: ["a", "b"], cache=tmp_path, view=view)


@pytest.mark.parametrize(
    ("line", "final"),
    [
        ("fairtune: methods.lora.r: 0 is not right", True),
        ("fairtune: methods.lora: out of memory; lower train.batch_size", False),
        ("fairtune: /tmp/x: the disk is full: free some space, then run again", False),
        ("fairtune: interrupted", False),
        ("fairtune: the training was ended by SIGTERM", False),
        ("RuntimeError: CUDA error: an illegal memory access", False),
    ],
)
def test_what_can_never_work_is_told_from_what_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, final: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    dispatch.LOGS.mkdir(parents=True)
    (dispatch.LOGS / "train@lora-1.log").write_text(f"Running stage\n{line}\n")
    reason, never = dispatcher(tmp_path).reason("train@lora-1", 1)
    assert never is final
    assert reason == (line if line.startswith("fairtune:") else "Running stage")


def test_a_task_that_fails_is_tried_twice_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dispatch.LOGS.mkdir(parents=True)
    begun: list[tuple[int, set[str]]] = []
    one = dispatcher(tmp_path)
    task = Errand(
        stage="train@lora-1", blobs=[Blob(path="x", md5="0", size=1)], model=[],
        links_model=False, shared_cache=None, remote=None, locked=LOCKED,
    )  # fmt: skip

    def start(task: Errand, number: int) -> dispatch.Attempt:
        begun.append((number, set(one.avoid.get(task.stage, set()))))
        made = functools.partial(dispatch.Attempt, task=task, number=number, stream=None)
        return made(intake=Intake(cache=tmp_path, locked=LOCKED), node="abc"[number - 1],
                    problem="NodeDiedError: gone")  # fmt: skip

    monkeypatch.setattr(one, "start", start)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    attempt: dispatch.Attempt | None = start(task, 1)
    while attempt is not None:
        attempt = one.over(attempt)
    assert begun == [(1, set()), (2, {"a"}), (3, {"a", "b"})]
    assert one.failures == {"train@lora-1": "NodeDiedError: gone"}


def test_time_left_counts_what_runs_and_what_waits() -> None:
    view = View("train", 5, 2)
    assert view.left() is None
    view.runs("a", "x", 1)
    view.runs("b", "x", 1)
    view.done("a", 10.0)
    # One runs, three wait, two at once: (10 + 30) / 2.
    assert view.left() == pytest.approx(20.0, abs=0.5)


def test_a_model_within_the_repository_is_sent_and_another_is_not(tmp_path: Path) -> None:
    assert bundle.within(Path("encoder"), "encoder")
    assert not bundle.within(Path("../encoder"), "../encoder")
    assert not bundle.within(tmp_path, str(tmp_path))

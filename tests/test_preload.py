"""Trainings forked from one process that holds their libraries: alike, alone, and ended in time."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairtune.core import ahead, files
from fairtune.core.errors import UserError
from fairtune.preload import owner, server
from fairtune.preload.surroundings import differing, fixed, surroundings
from tests import tiny
from tests.held import sitecustomize
from tests.repositories import ROOT, Repository, copy, environment, inside, until

pytestmark = pytest.mark.skipif(not owner.can_watch(), reason="Linux alone")

# What a client does, with a library that says how often it was imported and work that is quick.
CLIENT = """
import sys, time
from fairtune.core import errors
from fairtune.preload import client
def start():
    status = client.elsewhere("work", "work", started=time.perf_counter(), libraries=["heavy"])
    print("plain" if status is None else f"status {status}", flush=True)
    sys.exit(status or 0)
errors.run(start)
"""
HEAVY = """
from pathlib import Path
assert Path.cwd() == Path("/"), "a run's own folder may go meanwhile"
with Path(__file__).with_name("imports").open("a") as file: file.write("x")
"""
WORK = """
import os, random, sys, time
from fairtune.core.errors import UserError
def work(started):
    assert time.perf_counter() >= started
    assert "heavy" in sys.modules
    word = sys.argv[1]
    print("work", word, os.getpid(), os.environ.get("DVC_STAGE"), random.random(), flush=True)
    if word == "where": print(os.getcwd(), sys.path[0], __file__, flush=True)
    if word == "exit": sys.exit(7)
    if word == "mistake": raise UserError("no such thing")
    if word == "die": os.kill(os.getpid(), 9)
    if word == "wait":
        open(f"{os.getpid()}.waits", "w").close()
        time.sleep(60)
"""


class Run:
    """A process that stands for `dvc`, and clients that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("heavy", HEAVY), ("work", WORK), ("client", CLIENT)):
            (folder / f"{name}.py").write_text(text)
        self.runner = subprocess.Popen(["sleep", "120"])
        self.clients: list[subprocess.Popen[str]] = []

    def begin(
        self, *words: str, module: str = "client", folder: Path | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        belongs = {owner.RUN: str(owner.find(self.runner.pid)), "PYTHONPATH": str(ROOT)}
        client = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=folder or self.folder,
            env={**os.environ, **belongs, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.clients.append(client)
        return client

    def done(
        self, *words: str, folder: Path | None = None, **variables: str
    ) -> tuple[int, str, str]:
        client = self.begin(*words, folder=folder, **variables)
        out, err = client.communicate(timeout=60)
        return client.returncode, out, err

    def imports(self) -> int:
        file = self.folder / "imports"
        return len(file.read_text()) if file.exists() else 0

    def waiting(self) -> int:
        return int(until(lambda: list(self.folder.glob("*.waits")))[0].stem)

    def end(self) -> None:
        self.runner.kill()
        self.runner.wait()
        until(lambda: not inside(self.folder))


def sockets(pid: int) -> list[str]:
    text = Path("/proc/net/unix").read_text()
    return re.findall(rf"@fairtune-{pid}:\S+", text)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    for client in made.clients:
        client.kill()
        client.communicate()
    made.end()


def test_libraries_are_imported_once_and_each_training_has_a_process_of_its_own(run: Run) -> None:
    seen = [run.done("go", DVC_STAGE=f"train@{turn}") for turn in range(2)]
    assert [(code, out.splitlines()[-1]) for code, out, _ in seen] == [(0, "status 0")] * 2
    words = [out.split() for _, out, _ in seen]
    assert words[0][2] != words[1][2]
    assert [one[3] for one in words] == ["train@0", "train@1"]
    assert words[0][4] != words[1][4], "random numbers must not repeat"
    assert run.imports() == 1


def test_two_that_start_at_once_share_one_process(run: Run) -> None:
    clients = [run.begin("go") for _ in range(3)]
    assert all("status 0" in client.communicate(timeout=60)[0] for client in clients)
    assert run.imports() == 1


def test_a_process_started_ahead_serves_the_first_training(run: Run) -> None:
    (run.folder / "before.py").write_text(
        "from fairtune.preload import client\nclient.begin(['heavy'])\n"
    )
    before = run.begin(module="before")
    assert before.communicate(timeout=60) == ("", "")
    until(lambda: run.imports() == 1)
    assert "status 0" in run.done("go")[1]
    assert run.imports() == 1


def test_nothing_is_started_ahead_of_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def begin(*words: Any, **_: Any) -> Any:
        started.append(words)
        return SimpleNamespace(wait="waited for")

    at_end: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", begin)
    monkeypatch.setattr(atexit, "register", at_end.append)
    monkeypatch.delenv(ahead.STAGE, raising=False)
    ahead.import_for_trainings()
    assert not started
    monkeypatch.setenv(ahead.STAGE, "encode")
    ahead.import_for_trainings()
    assert started == [([sys.executable, "-m", ahead.MODULE],)]
    # Whose run it is it finds through the stage, which must not be gone by then.
    assert at_end == ["waited for"]
    assert importlib.util.find_spec(ahead.MODULE)


@pytest.mark.parametrize(
    ("word", "code", "line"),
    [
        ("exit", 7, ""),
        ("mistake", 1, "fairtune: no such thing"),
        ("die", 137, "fairtune: work was ended by SIGKILL (the system does so where memory"),
    ],
)
def test_a_client_ends_as_its_training_did(run: Run, word: str, code: int, line: str) -> None:
    status, _, err = run.done(word)
    assert status == code
    assert err.startswith(line)
    assert len(err.splitlines()) == bool(line)


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_the_client_ends_its_training(run: Run, sign: int, code: int) -> None:
    client = run.begin("wait")
    pid = run.waiting()
    client.send_signal(sign)
    _, err = client.communicate(timeout=30)
    assert client.returncode == code
    assert len(err.splitlines()) == 1
    assert owner.find(pid) is None


def test_a_training_does_not_outlive_a_killed_client(run: Run) -> None:
    client = run.begin("wait")
    pid = run.waiting()
    client.kill()
    until(lambda: owner.find(pid) is None, 30)


def test_a_run_that_is_killed_leaves_no_process_and_no_socket(run: Run) -> None:
    run.begin("wait")
    pid = run.waiting()
    assert sockets(run.runner.pid)
    run.runner.kill()
    run.runner.wait()
    until(lambda: owner.find(pid) is None and not inside(run.folder), 30)
    assert not sockets(run.runner.pid)


def test_a_killed_server_takes_its_training_with_it_and_the_client_says_so(run: Run) -> None:
    client = run.begin("wait")
    pid = run.waiting()
    os.kill(int(owner._stat(pid)[1]), signal.SIGKILL)
    _, err = client.communicate(timeout=30)
    assert client.returncode == 1
    assert err.startswith("fairtune: work was ended: the process that it was forked from is gone")
    until(lambda: owner.find(pid) is None)


def test_an_edit_between_two_trainings_counts(run: Run) -> None:
    assert run.done("go")[1].startswith("work go")
    text = WORK.replace('print("work"', 'print("edited"')
    (run.folder / "work.py").write_text(text)
    assert run.done("go")[1].startswith("edited go")
    assert run.imports() == 1


def test_folders_with_copies_of_the_code_share_one_process_and_each_runs_its_own(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Its own package, as a task has it; the process that forks looks at the times of its files.
    shutil.copytree(ROOT / "fairtune", run.folder / "fairtune")
    code = {owner.CODE: str(run.folder), "PYTHONPATH": ""}
    folders = [tmp_path_factory.mktemp("task") for _ in range(3)]
    for folder in folders:
        shutil.copytree(run.folder, folder, dirs_exist_ok=True)
    for folder in folders[:2]:
        printed = run.done("where", folder=folder, **code)[1].splitlines()
        assert printed[1:] == [f"{folder} {folder} {folder / 'work.py'}", "status 0"]
        shutil.rmtree(folder)
    assert run.imports() == 1
    (folders[2] / "fairtune/preload/forks.py").touch()
    assert run.done("go", folder=folders[2], **code)[1] == "plain\n"


@pytest.mark.parametrize(
    "variables",
    [{"OMP_NUM_THREADS": "7"}, {"CUDA_VISIBLE_DEVICES": ""}, {"FAIRTUNE_PRELOAD": "0"}],
)
def test_other_surroundings_make_a_plain_start(run: Run, variables: dict[str, str]) -> None:
    assert "status 0" in run.done("go", CUDA_VISIBLE_DEVICES="0")[1]
    assert run.done("go", **{"CUDA_VISIBLE_DEVICES": "1", **variables})[1] == "plain\n"


def test_another_of_several_gpus_is_no_other_surroundings(run: Run) -> None:
    for place in ("0", "1"):
        assert "status 0" in run.done("go", CUDA_VISIBLE_DEVICES=place)[1]
    assert run.imports() == 1


def test_libraries_that_cannot_be_imported_make_a_plain_start_that_is_told(run: Run) -> None:
    (run.folder / "heavy.py").write_text("raise ImportError")
    assert run.done("go") == (0, "plain\n", "")
    code, out, err = run.done("go", FAIRTUNE_PRELOAD="1")
    assert (code, out) == (0, "plain\n")
    assert "fairtune: a plain start: " in err
    assert "ImportError" in err


def test_a_library_installed_meanwhile_makes_a_plain_start(run: Run) -> None:
    libraries = run.folder / "libraries"
    (libraries / "heavier-1.0.dist-info").mkdir(parents=True)
    path = f"{ROOT}{os.pathsep}{libraries}"
    assert "status 0" in run.done("go", PYTHONPATH=path)[1]
    (libraries / "heavier-1.0.dist-info").rename(libraries / "heavier-1.1.dist-info")
    assert run.done("go", PYTHONPATH=path)[1] == "plain\n"


def test_a_switch_that_is_none_is_refused(run: Run) -> None:
    code, _, err = run.done("go", FAIRTUNE_PRELOAD="yes")
    assert code == 1
    assert err == "fairtune: FAIRTUNE_PRELOAD: 'yes' is not right; give 0 or 1, or leave it unset\n"


def test_what_differs_is_named() -> None:
    here = surroundings()
    assert json.loads(json.dumps(here)) == here
    assert differing(here, here) is None
    assert differing(here, here | {"umask": -1}) == "umask"
    other = here["environment"] | {"OMP_WAIT_POLICY": "active"}
    assert differing(here, here | {"environment": other}) == "environment (OMP_WAIT_POLICY)"
    assert fixed({"DVC_STAGE": "x", "PWD": "/"}) == {"CUDA_VISIBLE_DEVICES": "some"}


def test_a_folder_that_another_process_fills_is_refused_until_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from fairtune.core import files\n"
        "with files.fresh_folder(Path('models/lora/1')) as half:\n"
        "    (half / 'x').touch(); print('there', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    other.stdout.readline()
    folder = tmp_path / "models/lora/1"
    with (
        pytest.raises(UserError, match="models/lora/1: another process is writing it"),
        files.fresh_folder(folder),
    ):
        pass
    assert (tmp_path / "models/lora/1.part/x").exists()
    other.kill()
    other.communicate()
    with files.fresh_folder(folder) as half:
        assert not list(half.iterdir())
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_the_libraries_are_imported_without_asking_a_gpu_and_put_off_is_what_would() -> None:
    code = """
import sys, torch
asked = []
for name in ("is_available", "device_count", "get_device_capability", "init", "_lazy_init"):
    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name) or 0)
from fairtune.preload import deferral, server, wire
server.computes_on_processors_alone = lambda: False
server.load(list(wire.LIBRARIES))
assert not asked, f"CUDA would begin before the fork: {asked}"
assert "bitsandbytes.functional" not in sys.modules
before = set(sys.modules)
deferral.complete()
import bitsandbytes.functional
assert asked
import fairtune.training.run
late = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(late & {"torch", "transformers", "peft", "accelerate", "datasets"}), "end")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "end\n", done.stdout + done.stderr


def test_a_torch_for_any_gpu_puts_off_what_would_begin_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for kind in ("cuda", "hip", "xpu"):
        monkeypatch.setattr(torch.version, kind, None, raising=False)
    assert server.computes_on_processors_alone()
    for kind in ("cuda", "hip", "xpu"):
        with monkeypatch.context() as patch:
            patch.setattr(torch.version, kind, "1", raising=False)
            assert not server.computes_on_processors_alone()


LOADS = "    study = origins.pinned(params.load())\n"
"""A line of the stages `encode` and `train`, before which a test has them do more."""
PUT_OFF = "bitsandbytes.functional"
"""What a torch for a GPU imports in each fork, and one for processors alone before."""


@pytest.fixture(scope="module")
def repository(encoded: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = copy(encoded, tmp_path_factory.mktemp("preload"))
    made.variables = {sitecustomize.HOLDER: ""}  # as a user's, it imports all by itself
    # The number of the process that each was forked from, and whether it has what is put off.
    for stage in ("encode", "train"):
        file = made.root / f"stages/{stage}.py"
        text = file.read_text()
        assert text.count(LOADS) == 1
        seen = f"{{os.getppid()}} {{{PUT_OFF!r} in sys.modules}}"
        noted = f"    import os, sys; open('parents', 'a').write(f\"{seen}\\n\")\n"
        file.write_text(text.replace(LOADS, noted + LOADS))
    made.edit("subset.seed", 7)
    return made


@pytest.fixture(scope="module")
def trained(repository: Repository) -> str:
    """Train both methods in one run; return what was printed."""
    return repository.dvc("repro")


def record(repository: Repository) -> dict[str, Any]:
    return json.loads((repository.root / "models/lora/1/run.json").read_text())


def test_encode_and_two_trainings_are_forked_from_one_process_which_ends_with_the_repro(
    repository: Repository, trained: str
) -> None:
    assert "encode: test: " in trained
    assert "train: lora seed 1" in trained
    parents = (repository.root / "parents").read_text().splitlines()
    assert len(parents) == 3
    (forked,) = set(parents)
    assert forked.endswith(f" {server.computes_on_processors_alone()}")
    until(lambda: not inside(repository.root), 20)


@pytest.mark.usefixtures("trained")
def test_a_forked_training_predicts_and_records_what_a_plain_one_does(
    repository: Repository,
) -> None:
    forked = record(repository)
    predictions = repository.root / "models/lora/1/predictions.parquet"
    before = predictions.read_bytes()
    repository.run(sys.executable, "-m", "stages.train", "lora", "1")
    plain = record(repository)
    assert predictions.read_bytes() == before
    memory = [one["memory"].pop("host_memory_mib") for one in (forked, plain)]
    assert memory[0] == pytest.approx(memory[1], abs=25)
    for one in (forked, plain):
        for part in ("times", "inference"):
            one[part] = sorted(one[part])
    assert forked == plain


def test_a_killed_repro_leaves_no_training(repository: Repository) -> None:
    stage = repository.root / "stages/train.py"
    stage.write_text(stage.read_text().replace(LOADS, f"    time.sleep(60)\n{LOADS}"))
    (repository.root / "parents").unlink(missing_ok=True)
    dvc = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=repository.root,
        env=environment() | repository.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: (repository.root / "parents").exists())
    dvc.kill()
    dvc.wait()
    until(lambda: not inside(repository.root), 30)


def test_the_merged_speed_is_to_the_speed_as_trained_as_on_a_few_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fairtune.hardware import device
    from fairtune.training import inference

    rows = tiny.encoded_rows(100)
    chosen = device.Choice(type="cpu", name="", precision="fp32", reason="", threads=1)
    few = inference.sample_rows(rows, chosen)
    assert len(few) == 16
    middle = sorted(rows.lengths.tolist())[42:58]
    assert few.lengths.tolist() == middle
    assert few.row(3).tolist() == rows.row(rows.row_ids.index(few.row_ids[3])).tolist()
    # As trained, the few rows take two seconds; merged, one; all rows took 10 seconds.
    seconds = iter([*[0.01] * 11, 2.0, *[0.005] * 11, 1.0])
    monkeypatch.setattr(inference.Stopwatch, "timed", lambda *_: next(seconds))
    monkeypatch.setattr(inference, "merged", lambda model: (model, "merged"))

    class Adapted:
        peft_config = None

    found = inference.measure_inference(
        Adapted(), rows, test_seconds=10.0, batch_size=8, pad_token_id=0, device=chosen
    )
    assert found.latency_ms == 10.0
    assert found.samples_per_second == 10.0
    assert found.merged_latency_ms == 5.0
    assert found.merged_samples_per_second == 20.0

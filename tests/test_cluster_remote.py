"""Inputs and results of the cluster's tasks through a DVC remote: real DVC, no Ray, no training."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairtune.cluster import bundle, configured, dispatch, errand
from fairtune.cluster.errand import Errand, cached
from fairtune.cluster.intake import Intake
from fairtune.cluster.remote import Remote, RemoteError
from fairtune.cluster.view import View
from fairtune.core.errors import UserError

ROOT = Path(__file__).parent.parent
PIPELINE = """
stages:
  copy:
    cmd: cat data/in data/more > data/out && mkdir out && cp data/out out/a && cp data/in out/b
    deps: [data/in, data/more, again]
    outs: [out]
"""
WEIGHTS = b"w" * 100_000


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def configure(*lines: str, file: str = "config") -> None:
    Path(".dvc", file).write_text("[core]\n    no_scm = true\n" + "\n".join(lines) + "\n")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def driver(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one stage that is stale, and whose default remote is a folder."""
    root = tmp_path / "driver"
    (root / "data").mkdir(parents=True)
    (root / ".dvc").mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    configure("    remote = Storage", "['remote \"Storage\"']", f"    url = {storage}")
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text("{}\n")
    Path("data/in").write_bytes(WEIGHTS)
    Path("data/more").write_text("more")
    Path("again").write_bytes(WEIGHTS)
    return root


def task(found: Remote) -> Errand:
    study: Any = SimpleNamespace(model=SimpleNamespace(name="org/encoder"))
    (made,) = bundle.Bundler(study=study, shared_cache=None, remote=found).errands(["copy"])
    return made


def stored(storage: Path) -> set[str]:
    """Return the hashes that the remote holds."""
    files = (storage / "files/md5").rglob("*")
    return {f"{path.parent.name}{path.name}" for path in files if path.is_file()}


@contextlib.contextmanager
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work where a node does: among the code, and far from the driver's repository."""
    code = tmp_path / "code"
    code.mkdir(exist_ok=True)
    for name in ("dvc.yaml", "params.yaml"):
        (code / name).write_text(Path(name).read_text())
    with monkeypatch.context() as patch, contextlib.chdir(code):
        (tmp_path / "tasks").mkdir(exist_ok=True)
        patch.setattr("tempfile.tempdir", str(tmp_path / "tasks"))
        yield


def told(made: Errand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[errand.Send]:
    def never(_: Any) -> Iterator[bytes]:
        raise AssertionError("bytes were to come through Ray")

    with node(tmp_path, monkeypatch):
        return list(errand.run(made, never))


def receiver() -> dispatch.Dispatcher:
    return dispatch.Dispatcher(options={}, nodes=list, cache=Path(), view=View("train", 1, 1))


def taken(made: Errand, said: list[errand.Send]) -> dispatch.Attempt:
    """Return the attempt of a task once the driver took in what it told."""
    intake = Intake(cache=Path(".dvc/cache").absolute(), locked=made.locked, whole=False)
    attempt = dispatch.Attempt(task=made, number=1, stream=None, intake=intake)
    one = receiver()
    dispatch.LOGS.mkdir(parents=True, exist_ok=True)
    for kind, content in said:
        one.take(attempt, kind, content)
    return attempt


def test_a_task_fetches_pushes_and_the_driver_restores_and_ray_carries_the_entry_alone(
    driver: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = configured.find(None)
    made = task(found)
    assert stored(storage) == {md5(WEIGHTS), md5(b"more")}
    said = told(made, tmp_path, monkeypatch)
    assert said[-1][0] == "done"
    assert not list((tmp_path / "tasks").iterdir())
    assert sum(len(content) for kind, content in said if kind == "chunk") < 1000
    assert {md5(WEIGHTS + b"more"), md5(WEIGHTS)} < stored(storage)
    (entry,) = (path for path in (storage / "runs").rglob("*") if path.is_file())

    attempt = taken(made, said)
    assert attempt.intake.entries == 1
    assert receiver().contents(made) == {}
    assert (Path(".dvc/cache") / entry.relative_to(storage)).read_bytes() == entry.read_bytes()
    # The driver may end here: a second call has the entry, and finds the outputs by it.
    assert not (driver / ".dvc/cache/files").exists()
    assert bundle.restored(["copy"]) == ["copy"]
    assert bundle.restored(["copy"], found) == []
    assert Path("out/a").read_bytes() == WEIGHTS + b"more"
    assert Path("out/b").read_bytes() == WEIGHTS
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "{}"

    # What is there is neither sent nor fetched once more.
    assert found.push({md5(WEIGHTS): "data/in"}) == 0
    assert found.fetch(attempt.intake.outs) == 0
    cached(".dvc/cache", md5(WEIGHTS)).unlink()
    assert found.fetch(attempt.intake.outs) == len(WEIGHTS)


class Store(SimpleHTTPRequestHandler):
    """Serves a folder, and takes what is put there."""

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers["Content-Length"]))
        path.write_bytes(content)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def test_a_remote_of_another_kind_that_holds_no_run_cache_serves_as_well(
    driver: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Store, directory=storage)) as web:
        threading.Thread(target=web.serve_forever).start()
        url = f"http://127.0.0.1:{web.server_port}"
        configure("    remote = web", "['remote \"web\"']", f"    url = {url}", "    method = PUT")
        found = configured.find(None)
        try:
            made = task(found)
            taken(made, told(made, tmp_path, monkeypatch))
            assert bundle.restored(["copy"], found) == []
        finally:
            web.shutdown()
    assert Path("out/a").read_bytes() == WEIGHTS + b"more"
    assert not (storage / "runs").exists()
    with pytest.raises(RemoteError, match="DVC's remote 'web': Cannot connect to host 127"):
        found.reach()
    with pytest.raises(RemoteError, match="DVC's remote 'web': Cannot connect to host 127"):
        found.fetch([md5(b"elsewhere")])
    with pytest.raises(RemoteError, match="DVC's remote 'web': Cannot connect to host 127"):
        found.push({md5(WEIGHTS): "data/in"})


def test_what_somebody_cleared_out_of_a_remote_is_sent_again(driver: Path, storage: Path) -> None:
    import shutil

    found = configured.find("storage")
    assert found.push({md5(b"more"): "data/more"}) == 4
    shutil.rmtree(storage)
    assert found.push({md5(b"more"): "data/more"}) == 4


def test_other_content_under_a_name_is_not_kept(driver: Path, storage: Path) -> None:
    found = configured.find(None)
    found.push({md5(b"more"): "data/more"})
    (spoilt,) = (path for path in storage.rglob("*") if path.is_file())
    spoilt.chmod(0o644)
    spoilt.write_text("else")
    spoilt.chmod(0o444)
    with pytest.raises(RemoteError, match=f"it has other content under the hash {md5(b'more')}"):
        found.fetch([md5(b"more")])
    assert not cached(".dvc/cache", md5(b"more")).exists()
    with pytest.raises(RemoteError, match="DVC's remote 'storage': it has no file of the hash 00"):
        found.fetch(["0" * 32])


def unreachable(tmp_path: Path) -> Remote:
    (tmp_path / "file").touch()
    return Remote(name="storage", settings={"url": str(tmp_path / "file/storage")})


def test_a_node_that_cannot_reach_the_remote_says_so_and_another_is_tried(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    made = replace(task(configured.find(None)), remote=unreachable(tmp_path))
    said = told(made, tmp_path, monkeypatch)
    kind, words = said[-1]
    assert kind == "failed"
    assert words.startswith("DVC's remote 'storage': [Errno 20] Not a directory")
    attempt = taken(made, said)
    assert not attempt.final
    assert "ERROR" not in capfd.readouterr().err


def test_what_a_node_cannot_push_is_no_result(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(configured.find(None))

    def furnished(self: Remote, folder: Path, files: Any) -> None:
        for _, path in files:
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes((driver / path).read_bytes())

    monkeypatch.setattr(Remote, "furnish", furnished)
    from dataclasses import replace

    said = told(replace(made, remote=unreachable(tmp_path)), tmp_path, monkeypatch)
    assert said[-1][0] == "failed"
    assert "Not a directory" in said[-1][1]
    assert not any(kind == "file" for kind, _ in said)


def test_outputs_that_cannot_be_fetched_yet_lose_nothing(
    driver: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = configured.find(None)
    made = task(found)
    attempt = taken(made, told(made, tmp_path, monkeypatch))
    one = receiver()
    away = storage.rename(tmp_path / "away")
    storage.touch()
    one.fetch(attempt, found)
    assert "copy: its outputs could not be fetched yet: DVC's remote" in capsys.readouterr().out
    with pytest.raises(RemoteError, match="Not a directory"):
        bundle.restored(["copy"], found)
    storage.unlink()
    # Cleared out, it would have to run again.
    assert bundle.restored(["copy"], found) == ["copy"]
    away.rename(storage)
    one.fetch(attempt, found)
    assert one.fetched > 2 * len(WEIGHTS)
    assert "0.2 MiB from DVC's remote" in one.came()
    assert bundle.restored(["copy"]) == []


def test_a_task_is_told_no_secrets(driver: Path) -> None:
    configure(
        "    remote = mine",
        "['remote \"mine\"']", "    url = https://example.org/dvc", "    user = someone",
        "    password = hidden", "    custom_auth_header = hidden", "    read_timeout = 5",
    )  # fmt: skip
    configure(
        "['remote \"mine\"']", "    user = other", "    ask_password = true",
        "['remote \"private\"']", "    url = https://example.org/own", "    password = hidden",
        "    user = hidden", file="config.local",
    )  # fmt: skip
    settings = configured.find(None).settings
    assert settings == {"url": "https://example.org/dvc", "user": "someone", "read_timeout": "5"}
    assert configured.find("private").settings == {"url": "https://example.org/own"}


def test_a_node_adds_its_own_secrets_to_what_it_is_told(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config").write_text(
        "['remote \"mine\"']\n    url = https://here.org\n    user = other\n    password = own\n"
    )
    told = Remote(name="mine", settings={"url": "https://example.org", "user": "someone"})
    with told.repository(driver) as repo:
        section = repo.config["remote"]["mine"]
    assert (section["url"], section["user"]) == ("https://example.org", "someone")
    assert section["password"] == "own"


def test_a_remote_within_another_and_one_beside_the_repository_are_told_as_they_are(
    driver: Path, tmp_path: Path
) -> None:
    configure("['remote \"base\"']", "    url = ../../base",
              "['remote \"part\"']", "    url = remote://base/part")  # fmt: skip
    assert configured.find("base").settings == {"url": str(tmp_path / "base")}
    assert configured.find("part").settings == {"url": str(tmp_path / "base/part")}


SECTION = "['remote \"storage\"']"


@pytest.mark.parametrize(
    ("lines", "name", "words"),
    [
        ([], None, r"no default remote; make one: `dvc remote add .*known: none"),
        ([SECTION, "    url = /x"], None, r"no default remote.*known: storage"),
        ([SECTION, "    url = /x"], "storge", r"'storge' is no remote.*did you mean 'storage'"),
        pytest.param(
            [SECTION, "    url = s3://x"],
            "storage",
            r"--remote: s3 .*'dvc-s3'",
            marks=pytest.mark.skipif(bool(find_spec("dvc_s3")), reason="dvc-s3 is installed"),
        ),
        ([SECTION, "    url = https://me:pw@x.org/d"], "storage", r"its url holds a password"),
        ([SECTION, "    url = /x", "    no_such = 1"], "storage", r"--remote: config.*no_such"),
    ],
)
def test_a_remote_that_cannot_serve_is_named_before_anything_runs(
    driver: Path, lines: list[str], name: str | None, words: str
) -> None:
    configure(*lines)
    with pytest.raises(UserError, match=words) as caught:
        configured.find(name)
    assert "pw" not in str(caught.value)


def test_the_command_refuses_an_unknown_remote_in_one_line(driver: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairtune.cluster", "--remote", "elsewhere"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("fairtune: --remote: 'elsewhere' is no remote of DVC's configuration")

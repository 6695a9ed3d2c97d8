"""The service by which trials compute on a GPU at the same time: started, ended, or left out."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairtune.hardware import nvml
from fairtune.search import sharing
from fairtune.search.sharing import LOGS, PIPES, PROGRAM, SWITCH, VISIBLE, Sharing
from tests.repositories import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the service is Linux's alone")

SERVICE = """#!/bin/sh
echo $$ > "$CUDA_MPS_LOG_DIRECTORY/../service.pid"
echo "$CUDA_VISIBLE_DEVICES $*" > "$CUDA_MPS_LOG_DIRECTORY/../asked"
sleep 60 &
touch "$CUDA_MPS_PIPE_DIRECTORY/control"
wait
"""
ENDS = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for NVIDIA's program, which leaves its number and what it was asked."""
    program = tmp_path / "bin" / PROGRAM
    program.parent.mkdir()
    program.write_text(SERVICE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sharing.tempfile, "mkdtemp", lambda **_: _made(tmp_path / "pipes"))
    monkeypatch.setattr(nvml, "handle", lambda: "a GPU")
    monkeypatch.setattr(nvml, "uuid", lambda _: "GPU-1234")
    for name in (PIPES, LOGS, SWITCH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(VISIBLE, "1")
    return program


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


def alive(group: int) -> list[str]:
    """Return the processes of a group that run; the dead may still wait to be waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its = path.read_text().rpartition(")")[2].split()[:3]
            if int(its) == group and state != "Z":
                found.append(path.parent.name)
    return found


def test_it_runs_for_one_search_and_leaves_nothing(service: Path, tmp_path: Path) -> None:
    found = Sharing(wanted=True)
    assert found
    assert os.environ[PIPES] == os.environ[LOGS] == str(tmp_path / "pipes")
    # The service and its clients are told the GPU by a name that means the same to both.
    assert os.environ[VISIBLE] == "GPU-1234"
    assert (tmp_path / "asked").read_text() == "GPU-1234 -f\n"
    number = int((tmp_path / "service.pid").read_text())
    assert found.close()
    assert not found
    until(lambda: not alive(number))
    assert (os.environ.get(PIPES), os.environ.get(LOGS), os.environ[VISIBLE]) == (None, None, "1")
    assert not (tmp_path / "pipes").exists()
    assert not found.close()


def test_one_that_ends_at_once_is_done_without(service: Path, tmp_path: Path) -> None:
    service.write_text(ENDS)
    assert not Sharing(wanted=True)
    assert os.environ[VISIBLE] == "1"
    assert PIPES not in os.environ
    assert not (tmp_path / "pipes").exists()


def test_it_is_left_out_where_it_is_not_wanted_not_there_or_another_s(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Sharing(wanted=False)
    monkeypatch.setenv(SWITCH, "0")
    assert not Sharing(wanted=True)
    monkeypatch.delenv(SWITCH)
    monkeypatch.setenv(PIPES, "/run/theirs")
    assert not Sharing(wanted=True)
    assert os.environ[PIPES] == "/run/theirs"
    monkeypatch.delenv(PIPES)
    service.unlink()
    assert not Sharing(wanted=True)


def test_a_driver_that_names_no_gpu_is_done_without(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: object) -> str:
        raise RuntimeError("NVML: unknown error")

    monkeypatch.setattr(nvml, "uuid", unknown)
    assert not Sharing(wanted=True)
    assert os.environ[VISIBLE] == "1"


def test_it_ends_with_the_process_that_started_it(service: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from fairtune.hardware import nvml\n"
        "from fairtune.search.sharing import Sharing\n"
        "nvml.handle, nvml.uuid = (lambda: None), (lambda _: 'GPU-1234')\n"
        f"import tempfile; tempfile.mkdtemp = lambda **_: {str(tmp_path / 'pipes')!r}\n"
        "found = Sharing(wanted=True)\n"
        f"Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "pipes").mkdir()
    process = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: (tmp_path / "ready").exists())
    number = int((tmp_path / "service.pid").read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: str(number) not in alive(number))
    os.killpg(number, signal.SIGKILL)

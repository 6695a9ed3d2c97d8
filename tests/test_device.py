"""The device and the precision are what the machine has, or what was asked for, or an error."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fairtune.core.errors import UserError
from fairtune.core.params import Train
from fairtune.hardware import device
from fairtune.hardware.device import choose, cpu_has_bf16, driver, granted_cores

NO_GPU = not torch.cuda.is_available() and not torch.backends.mps.is_available()


def chosen(**asked: Any) -> Any:
    return choose(Train(epochs=1, batch_size=1, **asked))


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_asking_for_one_is_an_error() -> None:
    assert chosen().type == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(UserError, match=rf"^train\.device: '{name}' is not .* it has cpu$"):
            chosen(device=name)


def test_on_a_cpu_auto_is_bf16_exactly_where_the_processor_multiplies_it() -> None:
    found = chosen(device="cpu")
    assert found.precision == ("bf16" if cpu_has_bf16() else "fp32")
    assert found.reason
    assert found.name
    assert found.torch_device == torch.device("cpu")


def test_a_training_on_a_cpu_has_no_driver() -> None:
    assert driver(chosen(device="cpu")) is None


def test_a_precision_asked_for_is_taken() -> None:
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        found = chosen(device="cpu", precision=precision)
        assert (found.precision, found.dtype, found.reason) == (precision, dtype, "asked for")


def test_fp16_on_a_cpu_is_an_error() -> None:
    with pytest.raises(UserError, match=r"^train\.precision: fp16 needs a CUDA GPU; on cpu use"):
        chosen(device="cpu", precision="fp16")


def test_autocast_computes_in_the_precision_chosen() -> None:
    a = torch.ones(8, 8)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with chosen(device="cpu", precision=precision).autocast():
            assert (a @ a).dtype == dtype


def test_no_more_cores_are_used_than_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    before = torch.get_num_threads()
    assert 1 <= granted_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert granted_cores() == 1
    assert chosen(device="cpu").threads == torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("asked", "used"),
    [(None, 4), ("", 4), ("3", 3), ("2,1", 2), (" 1 ", 1), ("8", 4), ("0", 4), ("-1", 4), ("x", 4)],
)
def test_openmp_s_variable_lowers_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, used: int
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "granted_cores", lambda: 4)
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert chosen(device="cpu").threads == torch.get_num_threads() == used
    torch.set_num_threads(before)

"""What the driver of a cluster takes in: bytes a second, its memory, the time of hashing.

usage: python -m benchmarks.cluster [--mib 512] [--streams 1 2] [--output benchmarks/cluster.json]

One Ray node on this host streams files as a finished training's outputs come home; the driver
hashes and writes them as it does in `fairtune.cluster`. The figures are of this host, whose cores
do both ends' work: a driver of its own has as much again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import psutil
import ray

from fairtune.cluster.dispatch import UNDER_WAY
from fairtune.cluster.errand import CHUNK_BYTES, Send
from fairtune.cluster.intake import Intake
from fairtune.hardware.device import device_name, granted_cores

MIB = 2**20


@ray.remote(max_retries=0, max_calls=1, num_cpus=0)
def give(name: str, mib: int) -> Iterator[Send]:
    """Stream a file of zeros."""
    chunk = bytes(CHUNK_BYTES)
    yield "file", (name, mib * MIB)
    for _ in range(mib * MIB // CHUNK_BYTES):
        yield "chunk", chunk


def own_bytes(process: psutil.Process) -> int:
    """Return the bytes that a process holds for itself: Ray's store is memory that others share."""
    info = process.memory_info()
    return int(info.rss - info.shared)


def stages_of_a_study(trainings: int) -> dict[str, float]:
    """Return the seconds that DVC takes to lock one stage among so many trainings."""
    from dvc.utils.serialize import modify_yaml

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dvc.lock")
        lines = Path("dvc.lock").read_text(encoding="utf-8").splitlines(keepends=True)
        first = next(number for number, line in enumerate(lines) if line.startswith("  train@"))
        after = (n for n in range(first + 1, len(lines)) if not lines[n].startswith("    "))
        entry = "".join(lines[first + 1 : next(after, len(lines))])
        text = "".join(f"  train@lora-{seed}:\n{entry}" for seed in range(trainings))
        path.write_text(f"schema: '2.0'\nstages:\n{text}", encoding="utf-8")
        began = time.perf_counter()
        with modify_yaml(str(path)) as found:
            found["stages"]["train@lora-0"]["cmd"] = "changed"
        return {"trainings": trainings, "seconds": round(time.perf_counter() - began, 2)}


def stream(count: int, mib: int, folder: Path) -> dict[str, Any]:
    """Take in several files at once; return the seconds and the driver's growth."""
    digest = hashlib.md5(bytes(mib * MIB), usedforsecurity=False).hexdigest()
    name = f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}"
    process = psutil.Process()
    before = own_bytes(process)
    most = 0
    began = time.perf_counter()
    streams = {
        give.options(
            num_returns="streaming", _generator_backpressure_num_objects=UNDER_WAY
        ).remote(name, mib): Intake(cache=folder / str(number), locked={})
        for number in range(count)
    }  # fmt: skip
    while streams:
        for one in ray.wait(list(streams), num_returns=1)[0]:
            try:
                kind, content = ray.get(next(one))
            except StopIteration:
                del streams[one]
                continue
            intake = streams[one]
            intake.begin(*content) if kind == "file" else intake.chunk(content)
            most = max(most, own_bytes(process) - before)
    seconds = time.perf_counter() - began
    return {
        "streams": count,
        "mib": count * mib,
        "seconds": round(seconds, 2),
        "mib_per_second": round(count * mib / seconds),
        "driver_growth_mib": round(max(0, most) / MIB),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/cluster.json"))
    wanted = parser.parse_args()
    content = bytes(wanted.mib * MIB)
    began = time.perf_counter()
    hashlib.md5(content, usedforsecurity=False).hexdigest()
    hashing = time.perf_counter() - began
    del content
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        stream(1, CHUNK_BYTES // MIB, Path(folder, "warm-up"))
        found = [stream(count, wanted.mib, Path(folder, str(count))) for count in wanted.streams]
    report = {
        "processor": device_name("cpu"),
        "cores": granted_cores(),
        "ray": ray.__version__,
        "md5_mib_per_second": round(wanted.mib / hashing),
        "streams": found,
        "locking_a_stage": [stages_of_a_study(count) for count in (10, 100, 1000)],
    }
    print(json.dumps(report, indent=2))
    wanted.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

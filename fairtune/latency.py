"""Measure what each method takes to predict on this processor: as trained, merged, and as ONNX.

usage: python -m fairtune.latency
in:    params.yaml, models, the test rows, the pretrained model; what `make onnx` installs
out:   metrics/serving.json

Not part of the pipeline: the report has the figures where they are there. Of each method the first
seed is measured, all forms in one process from the same test rows. Let nothing else run meanwhile.
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse

from fairtune.core import params, terminal
from fairtune.core.files import write_json
from fairtune.report.latencies import SERVING


def main() -> None:
    """Measure, and write what was found."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    terminal.quiet_libraries()
    from fairtune.serving.latency import measure
    from fairtune.serving.onnx_graph import require

    require("fairtune.latency")
    found = measure(params.load(), lambda line: print(f"latency: {line}", flush=True))
    write_json(SERVING, found.model_dump(mode="json"))
    print(f"latency: {SERVING}; `dvc repro report` takes it up")


if __name__ == "__main__":
    errors.run(main)

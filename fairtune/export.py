"""Put a trained model into a folder that others can load: merged, as ONNX, or the adapter alone.

usage: python -m fairtune.export METHOD [SEED] --to (merged | adapter | onnx) FOLDER
                                  [--cache-base] [--hub USER/NAME [--send]]
in:    models/METHOD/SEED, metrics, runs, params.yaml; for merged and onnx also the test rows and
       the pretrained model; for onnx what `make onnx` installs
out:   FOLDER with weights, tokenizer, classes' names and model card
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairtune.core import origins, params, terminal
from fairtune.core.errors import UserError, did_you_mean
from fairtune.core.params import Params
from fairtune.core.units import MIB
from fairtune.serving import hub_cache, upload
from fairtune.serving.artefact import Artefact, find

if TYPE_CHECKING:  # it loads torch, which a mistake on the command line need not wait for
    from fairtune.serving.export import Check

KINDS = ("merged", "adapter", "onnx")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked.

    Raises:
        UserError: there is no such form.
    """
    parser = argparse.ArgumentParser(prog="python -m fairtune.export")
    parser.description = "Put a trained model into a folder that others can load."
    add = parser.add_argument
    add("method", metavar="METHOD", help="of params.yaml")
    add("seed", metavar="SEED", nargs="?", type=int, help="default: the study's first")
    add(
        "--to",
        nargs=2,
        required=True,
        metavar=("KIND", "FOLDER"),
        help="merged: a model that needs no other; adapter: adapter and head alone; onnx: a "
        "merged model as a graph for ONNX Runtime",
    )
    add("--dtype", choices=("fp32", "bf16"), default="fp32", help="of merged weights")
    add(
        "--dequantize",
        action="store_true",
        help="merge an adapter of 4-bit weights into the pretrained model's own",
    )
    add(
        "--cache-base",
        action="store_true",
        help="put the pretrained model of a package into the Hub's cache on this machine under "
        "its public name, by which PEFT and Transformers then find it without a network",
    )
    add("--hub", metavar="USER/NAME", help="list what would be sent to this repository of the Hub")
    add("--send", action="store_true", help="send it: the repository is made, private")
    add("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto")
    given = parser.parse_args(words)
    given.kind, given.folder = given.to[0], Path(given.to[1])
    if given.kind not in KINDS:
        raise UserError(f"--to: no form '{given.kind}'; {did_you_mean(given.kind, KINDS)}")
    if given.kind == "onnx" and given.dtype != "fp32":
        raise UserError(f"--dtype: {given.dtype} is not right for --to onnx, which writes fp32")
    if given.cache_base and given.kind != "adapter":
        raise UserError(f"--cache-base: --to {given.kind} needs no other model; drop the option")
    if given.hub is not None:
        upload.check_name(given.hub)
    elif given.send:
        raise UserError("--send: name the repository, with --hub USER/NAME")
    if given.send:
        upload.check_online()
    return given


def main() -> None:
    """Write the folder, and say what is in it."""
    asked = arguments()
    terminal.quiet_libraries()
    study = origins.pinned(params.load())
    artefact = find(study, asked.method, asked.seed)
    cached = hub_cache.put(artefact.model.name) if asked.cache_base else None
    check = write(study, artefact, asked)
    if cached is not None:
        print(f"export: the pretrained model is in {cached}")
    if check is not None:
        print(f"export: {check}")
    files = [path for path in asked.folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / MIB
    print(f"export: {len(files)} files, {size:,.1f} MiB, in {asked.folder}")
    if asked.hub is not None:
        hand_over(asked.folder, asked.hub, send=asked.send)


def write(study: Params, artefact: Artefact, asked: argparse.Namespace) -> Check | None:
    """Write the folder; return how far its model is from the trained one, where it has a model."""
    from fairtune.serving import export, onnx_export

    if asked.kind == "adapter":
        export.export_adapter(study, artefact, asked.folder)
        return None
    options = {"dequantize": asked.dequantize, "wanted": asked.device}
    if asked.kind == "onnx":
        return onnx_export.export_onnx(study, artefact, asked.folder, **options)
    return export.export_whole(study, artefact, asked.folder, dtype=asked.dtype, **options)


def hand_over(folder: Path, repository: str, *, send: bool) -> None:
    """Say what would be sent to a repository of the Hub, or send it."""
    print("\n".join(upload.listing(folder)))
    if send:
        print(f"export: sent to {upload.send(folder, repository)}")
    else:
        print(f"export: nothing was sent; `hf upload {repository} {folder}` would, or --send")


if __name__ == "__main__":
    errors.run(main)

"""Put a trained model into a folder as an ONNX graph, for servers that have no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.models.last_token import settle_padding
from fairtune.serving.artefact import Artefact
from fairtune.serving.classify import choose_device
from fairtune.serving.export import (
    TOLERANCE,
    Check,
    Examiner,
    check_bits,
    copy_files,
    examine,
    place,
    without_adapter,
    write_files,
)
from fairtune.serving.merging import DTYPES
from fairtune.serving.onnx_graph import GRAPH, OnnxModel, require, write_graph
from fairtune.training.batches import Collator

HOW = "Run by ONNX Runtime on the processor"
DTYPE = "fp32"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A graph, and the model that it was written from."""

    graph: OnnxModel
    whole: Any
    """Of Transformers, an adapter merged into its weights."""


def export_onnx(
    study: Params, artefact: Artefact, folder: Path, *, dequantize: bool, wanted: str
) -> Check:
    """Write the trained model as an ONNX graph, and check it on the test rows.

    The graph must predict as the model that it was written from, and that one, but for weights in
    4 bits, as the trained one.

    Args:
        study: the parameters, Hub revisions as commits.
        artefact: the finished training.
        folder: where to write; it is there only once all is right.
        dequantize: merge an adapter of 4-bit weights into the model's own.
        wanted: kind of device that the trained model is asked on, as `train.device`.

    Raises:
        UserError: a package is not installed, the weights are in 4 bits, the adapter cannot be
            merged, torch cannot export the family, the folder is no place for it, or the graph
            predicts otherwise.
    """
    require("--to onnx")
    check_bits(artefact, kind="onnx", dequantize=dequantize)
    examiner = examine(artefact, wanted)
    here = on_processor(artefact, examiner)
    exact = artefact.method.quantize is None
    with place(folder) as part:
        expected = examiner.ask(artefact.load(examiner.device, pad_token_id=examiner.pad_token_id))
        copy_files(artefact, part, weights=False)
        made = written(artefact, here, part)
        found = here.ask(made.graph)
        check = Check(
            rows=len(here.rows),
            largest_difference=float(np.abs(found.probabilities - expected.probabilities).max()),
            changed=int((found.predicted != expected.predicted).sum()),
            dtype=DTYPE,
            exact=exact,
            how=HOW,
        )
        source = expected if exact else here.ask(made.whole)
        gap = float(np.abs(found.probabilities - source.probabilities).max())
        if gap > TOLERANCE[DTYPE]:
            raise UserError(
                f"--to onnx: on the test rows the graph differs by {gap:.2g} in a probability from "
                f"the model that it was written from (tolerance {TOLERANCE[DTYPE]:g}). Nothing was "
                "written; use --to merged"
            )
        write_files(part, study, artefact, form="onnx", check=str(check))
    return check


def on_processor(artefact: Artefact, examiner: Examiner) -> Examiner:
    """Return what asks models about the same rows on the processor, in fp32."""
    train = artefact.train.model_copy(update={"device": "cpu", "precision": "fp32"})
    return replace(examiner, device=choose_device(train))


def written(artefact: Artefact, examiner: Examiner, folder: Path) -> Written:
    """Write graph and configuration of a trained model into a folder, and load the graph.

    Args:
        artefact: the finished training; weights in 4 bits are replaced by the model's own.
        examiner: on the processor; the graph is traced on two of its rows.
        folder: that is there.

    Raises:
        UserError: the adapter cannot be merged, or torch cannot export the family.
    """
    try:
        whole = without_adapter(artefact, examiner, dtype=DTYPES[DTYPE])
    except UserError as error:
        raise UserError(str(error).replace("--to merged", "--to onnx")) from error
    whole.config.architectures = [type(whole).__name__]
    whole.config.save_pretrained(folder)
    # The graph then reads a decoder's last token by the mask, as the training did.
    settle_padding(whole, examiner.pad_token_id)
    lengths = examiner.rows.lengths
    rows = [int(lengths.argmin()), int(lengths.argmax())]
    example = Collator(examiner.rows, pad_token_id=examiner.pad_token_id)(rows)
    write_graph(whole, folder / GRAPH, example)
    return Written(graph=OnnxModel(folder / GRAPH, family=whole.config.model_type), whole=whole)

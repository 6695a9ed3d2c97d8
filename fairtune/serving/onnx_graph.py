"""A model as an ONNX graph: written by torch's exporter, and run by ONNX Runtime on the processor.

The graph takes `input_ids` and `attention_mask`, both int64 of shape (rows, tokens) for any number
of each, and gives `logits`, fp32 of shape (rows, classes).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from fairtune.core.disk import chain, obstacle
from fairtune.core.errors import UserError, one_line

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Packages of requirements-onnx.txt that are used here."""
INSTALL = "run `make onnx`, or `pip install -r requirements-onnx.txt`"
GRAPH = "model.onnx"
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "logits"
MOST_IN_ONE_FILE = 1_900_000_000
"""Bytes of weights in the graph's own file: a protobuf message holds 2 GiB, of which some is the
graph. More weights lie in a file beside it."""
LENGTHY = 200
"""Characters of a reason that are shown."""


def require(asked: str) -> None:
    """Refuse to begin without the packages.

    Args:
        asked: the option or command that needs them.

    Raises:
        UserError: one is not installed.
    """
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{asked}: {name} is not installed; {INSTALL}")


class Logits(nn.Module):
    """A classifier with two inputs and one output, whatever else its own signature has."""

    def __init__(self, model: nn.Module) -> None:
        """Wrap a model of Transformers."""
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """Return the logits, shape (rows, classes)."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def write_graph(model: Any, path: Path, example: Mapping[str, torch.Tensor]) -> None:
    """Write a model as an ONNX graph.

    Args:
        model: of Transformers alone, in fp32 on the processor.
        path: of the graph's file.
        example: at least two rows of two tokens, as a batch has them; the graph is traced on it,
            and takes other numbers of both.

    Raises:
        UserError: torch cannot export the model; says why.
    """
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    axes = {0: "batch", 1: "sequence"}
    model.eval()
    try:
        with quiet():
            torch.onnx.export(
                Logits(model),
                kwargs={name: example[name] for name in INPUTS},
                f=path,
                input_names=INPUTS,
                output_names=[OUTPUT],
                dynamic_shapes=dict.fromkeys(INPUTS, axes),
                dynamo=True,
                external_data=size > MOST_IN_ONE_FILE,
                verbose=False,
            )
    except Exception as error:  # the exporter passes on whatever the model's own code raises
        raise _refusal(model.config.model_type, error) from error


class OnnxModel(nn.Module):
    """An ONNX graph that is called as the model that it was written from."""

    def __init__(self, path: Path, *, family: str) -> None:
        """Load a graph, for as many threads as torch has.

        Args:
            path: of the graph's file.
            family: of the model, for the message.

        Raises:
            UserError: ONNX Runtime cannot run the graph.
        """
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # each of the library's errors is a type of its own
            raise _refusal(family, error) from error

    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        """Return the logits as a model of Transformers does."""
        given = {name: inputs[name].numpy() for name in INPUTS}
        (logits,) = self.session.run([OUTPUT], given)
        return SimpleNamespace(logits=torch.from_numpy(logits))


def _refusal(family: str, error: Exception) -> Exception:
    """Return what to raise: a full disk or memory is another matter than the model."""
    if obstacle(error) or isinstance(error, MemoryError):
        return error
    reason = one_line(list(chain(error))[-1])
    short = reason if len(reason) <= LENGTHY else f"{reason[:LENGTHY]}…"
    return UserError(f"a model of the family '{family}' cannot be exported to ONNX: {short}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what the exporter says: operators of libraries that are not there, whole graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

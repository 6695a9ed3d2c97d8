"""The lines of Python that load a model which is handed on, for its card."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fairtune.core.sources import FOLDER, PACKAGE
from fairtune.serving.artefact import Artefact

ASK = 'print(classify("A text to be classified."))'


def whole() -> str:
    """Return what loads a model that stands by itself."""
    return f"""\
from transformers import pipeline

folder = "."  # where this file lies
classify = pipeline("text-classification", model=folder, truncation=True)
{ASK}
"""


def onnx() -> str:
    """Return what runs an ONNX graph; neither torch nor a pretrained model is needed.

    It answers in the shapes of a pipeline of Transformers.
    """
    return f"""\
import json
from pathlib import Path

import numpy as np
import onnxruntime
from transformers import AutoTokenizer

folder = Path(".")  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(folder / "model.onnx")
classes = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]


def classify(text, top_k=1):
    texts = [text] if isinstance(text, str) else text
    read = tokenizer(texts, truncation=True, padding=True, return_tensors="np")
    asked = {{one.name: read[one.name].astype(np.int64) for one in session.get_inputs()}}
    (logits,) = session.run(["logits"], asked)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    rows = [
        [{{"label": classes[str(place)], "score": float(row[place])}} for place in order]
        for row, order in zip(shares, np.argsort(-shares)[:, :top_k])
    ]
    if top_k == 1:
        return [row[0] for row in rows]
    return rows[0] if isinstance(text, str) else rows


{ASK}
"""


def adapter(artefact: Artefact, *, base: str, revision: str | None, head: Sequence[str]) -> str:
    """Return what loads an adapter together with the model that it belongs to.

    Args:
        artefact: the finished training.
        base: the model's public name.
        revision: its commit or version.
        head: modules that were trained beside the adapter.
    """
    quantize = artefact.method.quantize
    more = ", BitsAndBytesConfig" if quantize else ""
    standard = ["from importlib.resources import files", ""] if base.startswith(PACKAGE) else []
    lines = [
        *standard,
        *(["import torch"] if quantize else []),
        "from peft import PeftModel",
        f"from transformers import AutoConfig, AutoModelForSequenceClassification{more}",
        "from transformers import pipeline",
        "",
        'folder = "."  # where this file lies',
        *_named(base, revision),
        'config = AutoConfig.from_pretrained(f"{folder}/base")',
        *(_stored(quantize, artefact.record.device.precision, head) if quantize else []),
        "base = AutoModelForSequenceClassification.from_pretrained(",
        f"    name, {_revision(base, revision)}config=config,",
        *(["    quantization_config=stored,"] if quantize else []),
        ")",
        "model = PeftModel.from_pretrained(base, folder)",
        "classify = pipeline(",
        '    "text-classification", model=model, tokenizer=folder, truncation=True',
        ")",
        ASK,
    ]
    return "\n".join(lines) + "\n"


def _named(base: str, revision: str | None) -> list[str]:
    """Return the line that says where the pretrained model is."""
    if base.startswith(PACKAGE):
        package, _, inside = base.removeprefix(PACKAGE).partition("/")
        version = f"  # version {revision}" if revision else ""
        return [f"name = str(files({json.dumps(package)}) / {json.dumps(inside)}){version}"]
    if base.startswith(FOLDER):
        known = json.dumps(base.removeprefix(FOLDER), ensure_ascii=False)
        return [f"name = {known}  # the folder of the pretrained model: give its path"]
    return [f"name = {json.dumps(base)}"]


def _revision(base: str, revision: str | None) -> str:
    of_hub = not base.startswith((PACKAGE, FOLDER))
    return f"revision={json.dumps(revision)}, " if of_hub and revision else ""


def _stored(quantize: str, precision: str, head: Sequence[str]) -> list[str]:
    kinds = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
    return [
        "stored = BitsAndBytesConfig(",
        f"    load_in_4bit=True, bnb_4bit_quant_type={json.dumps(quantize)},",
        f"    bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.{kinds[precision]},",
        f"    llm_int8_skip_modules={json.dumps(list(head))},",
        ")",
    ]

"""Count a model's parameters and prove how they are stored and which are trained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.models.pretrained import inside
from fairtune.runs.record import Audit, Counts

# Before a module's name, PEFT writes nothing, this for prompts, and that for the other adapters.
WRAPS = ("", "base_model.", "base_model.model.")
FLOATING = {"float32", "float16", "bfloat16"}


def head_parameters(model: nn.Module, head: list[str]) -> list[tuple[str, nn.Parameter]]:
    """Return the head's own parameters by name, PEFT's frozen originals left out."""
    prefixes = [f"{wrap}{name}" for name in head for wrap in WRAPS]
    return [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if inside(name, prefixes) and ".original_module." not in name
    ]


def parameters_held(parameter: nn.Parameter) -> int:
    """Return how many parameters a tensor holds; a packed 4-bit one holds two to the byte."""
    state = getattr(parameter, "quant_state", None)
    return math.prod(state.shape) if state is not None else parameter.numel()


def count_parameters(model: nn.Module, head: list[str]) -> Counts:
    """Count the parameters of the model as it predicts."""
    own = [(n, p) for n, p in model.named_parameters() if ".original_module." not in n]
    in_head = {name for name, _ in head_parameters(model, head)}
    trained = [(name, parameter) for name, parameter in own if parameter.requires_grad]
    wrapped = hasattr(model, "peft_config")
    return Counts(
        total=sum(parameters_held(parameter) for _, parameter in own),
        trainable=sum(parameters_held(parameter) for _, parameter in trained),
        adapter=sum(parameters_held(p) for n, p in trained if n not in in_head) if wrapped else 0,
        head=sum(parameters_held(p) for n, p in own if n in in_head),
    )


def audit_weights(model: nn.Module, head: list[str]) -> Audit:
    """Record which modules are in 4 bits, which carry an adapter, and what type is trained."""

    def dtypes(parameters: Iterable[nn.Parameter]) -> list[str]:
        return sorted({str(p.dtype).removeprefix("torch.") for p in parameters})

    adapted = [n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
    return Audit(
        quantized_modules=[name for name, module in model.named_modules() if is_4bit(module)],
        head_dtypes=dtypes(p for _, p in head_parameters(model, head)),
        trainable_dtypes=dtypes(p for p in model.parameters() if p.requires_grad),
        adapted_modules=[name for name in adapted if "." in name],
    )


def is_4bit(module: nn.Module) -> bool:
    """Return whether a module's own weight is in 4 bits (PEFT's wrapper of one is not meant)."""
    kind = type(module)
    return kind.__name__ == "Linear4bit" and kind.__module__.startswith("bitsandbytes")


def check_audit(audit: Audit, counts: Counts, method: Method, *, name: str) -> None:
    """Refuse a model whose head is quantised or frozen, or whose 4-bit weights are not there.

    Raises:
        UserError: the model is not what the method says.
    """
    if set(audit.head_dtypes) - FLOATING or set(audit.trainable_dtypes) - FLOATING:
        raise UserError(
            f"methods.{name}: the head holds {', '.join(audit.head_dtypes)} and "
            f"{', '.join(audit.trainable_dtypes)} would be trained; both must be floating point: "
            "name the head's modules in model.head"
        )
    if method.quantize and not audit.quantized_modules:
        raise UserError(f"methods.{name}.quantize: no module of this model could be quantised")
    if method.adapter and not counts.adapter:
        raise UserError(f"methods.{name}: the adapter trains nothing; check its targets")
    if counts.trainable - counts.adapter < counts.head:
        raise UserError(f"methods.{name}: the head is frozen; name its modules in model.head")


def check_biases(model: nn.Module, *, name: str) -> None:
    """Refuse to train the bias of a 4-bit layer: bitsandbytes casts it to bf16 at every pass.

    Raises:
        UserError: one would be trained.
    """
    for path, module in model.named_modules():
        bias = getattr(module, "bias", None)
        if is_4bit(module) and isinstance(bias, nn.Parameter) and bias.requires_grad:
            raise UserError(
                f"methods.{name}.bias: the bias of {path}, a layer in 4 bits, cannot be trained in "
                "fp32; set it to none, or leave out quantize"
            )


def parameter_hash(parameters: Iterable[tuple[str, nn.Parameter]]) -> str:
    """Return the SHA-256 of parameters, names left out (wrappers change them)."""
    digest = hashlib.sha256()
    for _, parameter in parameters:
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()

"""Build the model that a method trains, from the method's two axes: `quantize` and `adapter`.

No branch asks for a method's name: a further PEFT method is one more block of the parameters.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PretrainedConfig, set_seed

from fairtune.adapters import adapter_config, add_adapter
from fairtune.checkpoints import draw, find_head, inside, load_base, load_config, outline
from fairtune.device import Choice
from fairtune.errors import UserError
from fairtune.params import Method, Model
from fairtune.results import Audit, Counts

__all__ = ["Built", "build", "head_modules", "is_4bit", "load_base", "load_config"]
# Before a module's name, PEFT writes nothing, this for prompts, and that for the other adapters.
WRAPS = ("", "base_model.", "base_model.model.")
FLOATING = {"float32", "float16", "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model ready to train."""

    model: Any
    """The Transformers model, wrapped by PEFT where there is an adapter."""
    head: list[str]
    """Names of the head's modules in the unwrapped model."""
    counts: Counts
    audit: Audit
    head_sha256: str
    """Hash of the head's first weights."""


def build(
    model: Model, method: Method, *, name: str, labels: int, device: Choice, seed: int
) -> Built:
    """Load the encoder, store its weights as the method says and add the adapter.

    The seed is set before the head is drawn and again before the adapter is: the head then starts
    from the same weights in every method of one seed.

    Raises:
        UserError: the model cannot be had, or the method does not fit it.
    """
    config = load_config(model, labels=labels)
    skeleton = outline(config)
    head = find_head(skeleton, model.head)
    # Before the weights are fetched: a mistake in the block shows at once.
    adapter = (
        adapter_config(method, name=name, head=head, model=skeleton) if method.adapter else None
    )
    set_seed(seed)
    base, untrained = load_base(model, method, config=config, head=head, device=device)
    draw(base, untrained, seed=seed)
    head_sha256 = parameter_hash(head_parameters(base, head))
    if adapter is not None:
        set_seed(seed)
        base = add_adapter(base, adapter, name=name, head=head)
    counts = count(base, head)
    audit = audit_weights(base, head)
    check(audit, counts, method, name=name)
    check_biases(base, name=name)
    return Built(model=base, head=head, counts=counts, audit=audit, head_sha256=head_sha256)


def head_modules(config: PretrainedConfig) -> list[str]:
    """Return the modules that make up the classification head of such a model."""
    return find_head(outline(config))


def head_parameters(model: nn.Module, head: list[str]) -> list[tuple[str, nn.Parameter]]:
    """Return the head's own parameters by name, PEFT's frozen originals left out."""
    prefixes = [f"{wrap}{name}" for name in head for wrap in WRAPS]
    return [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if inside(name, prefixes) and ".original_module." not in name
    ]


def size(parameter: nn.Parameter) -> int:
    """Return how many parameters a tensor holds; a packed 4-bit one holds two to the byte."""
    state = getattr(parameter, "quant_state", None)
    return math.prod(state.shape) if state is not None else parameter.numel()


def count(model: nn.Module, head: list[str]) -> Counts:
    """Count the parameters of the model as it predicts."""
    own = [(n, p) for n, p in model.named_parameters() if ".original_module." not in n]
    in_head = {name for name, _ in head_parameters(model, head)}
    trained = [(name, parameter) for name, parameter in own if parameter.requires_grad]
    wrapped = hasattr(model, "peft_config")
    return Counts(
        total=sum(size(parameter) for _, parameter in own),
        trainable=sum(size(parameter) for _, parameter in trained),
        adapter=sum(size(p) for n, p in trained if n not in in_head) if wrapped else 0,
        head=sum(size(p) for n, p in own if n in in_head),
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


def check(audit: Audit, counts: Counts, method: Method, *, name: str) -> None:
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

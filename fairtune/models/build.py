"""Build the model that a method trains, from the method's two axes: `quantize` and `adapter`.

No branch asks for a method's name: a further PEFT method is one more block of the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig, set_seed

from fairtune.core.method import Method
from fairtune.core.params import Model
from fairtune.hardware.device import Choice
from fairtune.models.adapters import adapter_config, add_adapter, check_room
from fairtune.models.audit import (
    audit_weights,
    check_audit,
    check_biases,
    count_parameters,
    head_parameters,
    parameter_hash,
)
from fairtune.models.last_token import settle_padding
from fairtune.models.pretrained import draw_parameters, find_head, load_base, load_config, outline
from fairtune.runs.record import Audit, Counts


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
    model: Model,
    method: Method,
    *,
    name: str,
    labels: int,
    device: Choice,
    seed: int,
    steps: int | None = None,
    pad_token_id: int | None = None,
    longest: int = 0,
) -> Built:
    """Load the model, store its weights as the method says and add the adapter.

    The seed is set before the head is drawn and again before the adapter is: the head then starts
    from the same weights in every method of one seed.

    Args:
        model: the pretrained model.
        method: the method's block of the parameters.
        name: the method's name, for errors.
        labels: how many classes there are.
        device: where to put the model, and in which precision it computes.
        seed: the seed.
        steps: optimizer steps of the training to come, for adapters that plan by them.
        pad_token_id: token that fills up batches; None leaves the model's own.
        longest: tokens that a text may have, for adapters that put virtual tokens beside it.

    Raises:
        UserError: the model cannot be had, or the method does not fit it.
    """
    config = load_config(model, labels=labels)
    skeleton = outline(config)
    head = find_head(skeleton, model.head)
    # Before the weights are fetched: a mistake in the block shows at once.
    adapter = (
        adapter_config(method, name=name, head=head, model=skeleton, steps=steps)
        if method.adapter
        else None
    )
    if adapter is not None:
        check_room(adapter, skeleton, longest=longest, name=name)
    set_seed(seed)
    base, untrained = load_base(model, method, config=config, head=head, device=device)
    settle_padding(base, pad_token_id)
    draw_parameters(base, untrained, seed=seed)
    head_sha256 = parameter_hash(head_parameters(base, head))
    if adapter is not None:
        set_seed(seed)
        base = add_adapter(base, adapter, name=name, head=head)
    counts = count_parameters(base, head)
    audit = audit_weights(base, head)
    check_audit(audit, counts, method, name=name)
    check_biases(base, name=name)
    return Built(model=base, head=head, counts=counts, audit=audit, head_sha256=head_sha256)


def head_modules(config: PretrainedConfig) -> list[str]:
    """Return the modules that make up the classification head of such a model."""
    return find_head(outline(config))

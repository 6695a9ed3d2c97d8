"""Ranks that come down during training, as AdaLoRA's: over which steps, and from where to where."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from peft import PeftConfig

from fairtune.core.errors import UserError

OF_THE_RUN = "total_step"
"""PEFT's key for the steps of the training: whatever has it plans its ranks by them."""


def plan_ranks(
    config_class: type[PeftConfig], keywords: Mapping[str, Any], *, steps: int, name: str
) -> dict[str, Any]:
    """Return the keys that say over which steps the ranks come down; none where they stay.

    Args:
        config_class: PEFT's configuration.
        keywords: the method's keys.
        steps: optimizer steps of the training.
        name: the method's name, for errors.

    Raises:
        UserError: the ranks could not come down.
    """
    usual = {field.name: field.default for field in dataclasses.fields(config_class)}
    if OF_THE_RUN not in usual:
        return {}
    total = keywords.get(OF_THE_RUN)
    total = steps if total is None else int(total)
    chosen = {**usual, **keywords, OF_THE_RUN: total}
    if total > steps:
        raise UserError(
            f"methods.{name}.{OF_THE_RUN}: {total} is beyond the run's {steps} steps: the ranks "
            "would never come down to target_r; drop the key"
        )
    for key, least, most in (
        (OF_THE_RUN, 1, None),
        ("target_r", 1, chosen["init_r"] - 1),
        ("deltaT", 1, None),
        ("tinit", 0, None),
        ("tfinal", 0, None),
    ):
        value = chosen[key]
        if value < least or (most is not None and value > most):
            right = f"{least} or more" + ("" if most is None else f" and below init_r, {most + 1}")
            raise UserError(f"methods.{name}.{key}: {value} is not right; expected {right}")
    if chosen["tinit"] + chosen["tfinal"] >= total:
        raise UserError(
            f"methods.{name}.tinit: {chosen['tinit']} steps before the ranks come down and "
            f"{chosen['tfinal']} after (tfinal) leave none of the {total} for it; set fewer, or "
            "train more steps"
        )
    return {OF_THE_RUN: total}

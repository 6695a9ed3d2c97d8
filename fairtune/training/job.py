"""What one training is given: the study, the encoded rows, and which method with which seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairtune.core.method import Method
from fairtune.core.params import Params
from fairtune.runs.token_cache import Encoded


@dataclass(frozen=True, kw_only=True)
class Job:
    """One method and one seed of a study, with its data in memory."""

    study: Params
    splits: Mapping[str, Encoded]
    """The encoded rows of each split."""
    manifest: Mapping[str, Any]
    """What the encode stage says of them."""
    name: str
    """The method's."""
    seed: int

    @property
    def method(self) -> Method:
        """The method's block of the parameters."""
        return self.study.method(self.name)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.manifest["labels"])

    @property
    def pad_token_id(self) -> int:
        """Token id that fills up a batch."""
        return int(self.manifest["pad_token_id"])

"""Who else was on the GPU while a training was measured, from one sample after the other.

Inside a container the driver may number processes otherwise than this process does, list only some
of them, or none. So the training is looked for by its number, and else taken to be the one process
that is there; what the device holds beyond that is somebody's whom the driver does not list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairtune.hardware.baseline import BUSY_MIB

STEADY = 20
"""Samples in a row that must see unlisted memory: between the two counters that one sample reads,
the training may give memory back."""


@dataclass(kw_only=True)
class Company:
    """Notes in each sample which processes but the training compute on the GPU."""

    pid: int
    """The training's."""
    before_mib: float | None
    """What the device held before the training touched it; None where that is not known."""
    _held: dict[int, float | None] = field(default_factory=dict)
    """Others by their number, with the most that each held."""
    _extra: int = 0
    """The most processes at once beside the training, where its own number is not known."""
    _unlisted_mib: float = 0.0
    _in_a_row: int = 0

    def look(self, computing: Mapping[int, float | None], device_mib: float | None) -> None:
        """Take in a sample.

        Args:
            computing: pid -> MiB held, None where the driver does not tell.
            device_mib: memory in use on the whole device, None where it is not known.
        """
        if self.pid in computing:
            for pid, mib in computing.items():
                if pid != self.pid:
                    known = [one for one in (mib, self._held.get(pid)) if one is not None]
                    self._held[pid] = max(known, default=None)
        else:
            self._extra = max(self._extra, len(computing) - 1)
        self._look_for_unlisted(computing, device_mib)

    def _look_for_unlisted(
        self, computing: Mapping[int, float | None], device_mib: float | None
    ) -> None:
        listed = list(computing.values())
        if device_mib is None or self.before_mib is None or not listed or None in listed:
            return
        unlisted = device_mib - self.before_mib - sum(mib for mib in listed if mib is not None)
        self._in_a_row = self._in_a_row + 1 if unlisted > BUSY_MIB else 0
        if self._in_a_row >= STEADY:
            self._unlisted_mib = max(self._unlisted_mib, unlisted)

    def seen(self) -> str | None:
        """Return who else was there, None where nobody was noticed."""
        if self._held:
            known = [mib for mib in self._held.values() if mib is not None]
            held = f"{sum(known):.0f} MiB" if known else "a part"
            return f"processes {sorted(self._held)} held {held} of the GPU during training"
        if self._extra > 0:
            return (
                f"{self._extra + 1} processes were on the GPU during training, one of them the "
                "training's own"
            )
        if self._unlisted_mib:
            return (
                f"a process that the driver does not list held {self._unlisted_mib:.0f} MiB of the "
                "GPU during training"
            )
        return None

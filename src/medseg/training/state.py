"""The counters of a training, which last.pt keeps beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class State:
    """Counters of a training; `epoch` and `step` are those to run next."""

    epoch: int = 0
    step: int = 0  # in the epoch
    updates: int = 0  # optimiser steps in all
    elapsed: float = 0.0  # seconds in all sessions
    best: float = -1.0  # the best validation score so far
    best_epoch: int = 0
    stale: int = 0  # validations since the best
    sums: dict[str, float] = field(default_factory=dict)  # of the losses in this epoch

    def plain(self) -> dict[str, Any]:
        """As a dict of numbers, for the checkpoint."""
        return asdict(self)

"""Sums of losses over the steps of an epoch."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor


class Sums:
    """Sums of the losses, kept on the device until they are read, as means over the processes.

    Every process has to read when one does. `start` are the sums of the steps before.
    """

    def __init__(self, fabric: Fabric, device: torch.device, start: dict[str, float]) -> None:
        self.fabric, self.device = fabric, device
        self.start, self.names = start, list(start)
        self._total: Tensor | None = None
        self._last: Tensor | None = None

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of one step, scalars on the device."""
        self.names = list(losses)
        self._last = torch.stack([value.float() for value in losses.values()])
        wide = self._last if self.device.type == "mps" else self._last.double()
        if self._total is None:
            self._total = torch.tensor(
                [self.start.get(name, 0.0) for name in self.names],
                dtype=wide.dtype,
                device=self.device,
            )
        self._total += wide

    def last(self) -> dict[str, float]:
        """The losses of the latest step (waits for the device)."""
        return self._read(self._last) if self._last is not None else {}

    def totals(self) -> dict[str, float]:
        """The sums so far (waits for the device)."""
        return self._read(self._total) if self._total is not None else dict(self.start)

    def _read(self, values: Tensor) -> dict[str, float]:
        if self.fabric.world_size > 1:
            values = self.fabric.all_reduce(values.clone(), reduce_op="mean")
        return dict(zip(self.names, values.tolist(), strict=True))

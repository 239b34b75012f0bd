"""What runs a network: uint8 images in, logits out. Validation and prediction share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from medseg.hardware import autocast
from medseg.preprocessing import Preprocessing


class Backend(Protocol):
    """Any way to run a network on fitted images."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network's input is like."""

    @property
    def device(self) -> torch.device:
        """Where batches are wanted and logits are returned."""

    def logits(self, batch: Tensor) -> Tensor:
        """Logits [B, K, h, w] of uint8 images [B, h, w, C] that `preprocessing` has fitted."""


@dataclass(frozen=True)
class TorchBackend:
    """A PyTorch network on its device, in eval mode, at `precision` "fp32", "bf16" or "fp16"."""

    network: nn.Module
    preprocessing: Preprocessing
    device: torch.device
    precision: str = "fp32"

    def logits(self, batch: Tensor) -> Tensor:
        """Logits [B, K, h, w] of uint8 images [B, h, w, C], computed channels-last."""
        with torch.inference_mode(), autocast(batch.device.type, self.precision):
            pixels = self.preprocessing.normalise(batch)
            return self.network(pixels.contiguous(memory_format=torch.channels_last))

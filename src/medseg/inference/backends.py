"""What runs a network: uint8 images in, logits out. Validation and prediction share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
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
    def trained_preprocessing(self) -> Preprocessing:
        """The same, or what an exported file does of it inside."""

    @property
    def device(self) -> torch.device:
        """Where batches are wanted and logits are returned."""

    @property
    def precision(self) -> str:
        """Of its arithmetic."""

    @property
    def parameters(self) -> int:
        """How many the network has."""

    @property
    def gives_probability(self) -> bool:
        """Whether `logits` say more than the class of each pixel."""

    def decision(self, threshold: float) -> float:
        """The threshold that `logits` are to be held against where a command says `threshold`."""

    def masks(self, batch: np.ndarray, threshold: float) -> np.ndarray | None:
        """Masks uint8 [B, H, W] of native images, where the backend has a shorter way to them."""

    def logits(self, batch: Tensor) -> Tensor:
        """Logits [B, K, h, w] of uint8 images [B, h, w, C] that `preprocessing` has fitted."""


@dataclass(frozen=True)
class TorchBackend:
    """A PyTorch network on its device, in eval mode, at `precision` "fp32", "bf16" or "fp16"."""

    network: nn.Module
    preprocessing: Preprocessing
    device: torch.device
    precision: str = "fp32"

    @property
    def trained_preprocessing(self) -> Preprocessing:
        """`preprocessing`."""
        return self.preprocessing

    @property
    def gives_probability(self) -> bool:
        """Always."""
        return True

    @property
    def parameters(self) -> int:
        """How many the network has."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def decision(self, threshold: float) -> float:
        """`threshold`."""
        return threshold

    def masks(self, batch: np.ndarray, threshold: float) -> None:
        """None: the way leads over `logits`."""

    def logits(self, batch: Tensor) -> Tensor:
        """Logits [B, K, h, w] of uint8 images [B, h, w, C], computed channels-last."""
        with torch.inference_mode(), autocast(batch.device.type, self.precision):
            pixels = self.preprocessing.normalise(batch)
            return self.network(pixels.contiguous(memory_format=torch.channels_last))

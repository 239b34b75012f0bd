"""A trained network as a function from an image to its mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg import checkpoint
from medseg.data.decode import read_image
from medseg.data.geometry import fit_image
from medseg.errors import UserError
from medseg.hardware import pick_accelerator, pick_precision
from medseg.prediction.inference import classify, forward, load_network, margins, probabilities


class Predictor:
    """`Predictor.load("runs/mine")("image.png")` is the mask. Needs nothing but the run folder or
    its checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        given: checkpoint.Input,
        *,
        classes: int,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        about: dict[str, Any] | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.device, self.precision, self.classes, self.given = (
            torch.device(device),
            precision,
            classes,
            given,
        )
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)
        self.about, self.temperature = about or {}, temperature
        self._mean, self._std = given.constants(self.device)

    @classmethod
    def load(
        cls, run: str | Path, *, accelerator: str = "auto", precision: str = "auto"
    ) -> Predictor:
        """From a run folder or a checkpoint file. Raises `UserError` for a damaged, foreign or
        malicious file.
        """
        accelerator = pick_accelerator(accelerator)
        stored = checkpoint.load(Path(run))
        about = {key: value for key, value in stored.items() if key not in ("weights", "training")}
        return cls(
            load_network(stored, accelerator),
            checkpoint.input_of(stored),
            classes=stored["classes"],
            device=accelerator,
            precision=pick_precision(precision, accelerator),
            about=about,
            temperature=stored.get("temperature", 1.0),
        )

    def __call__(self, image: np.ndarray | str | Path, threshold: float = 0.5) -> np.ndarray:
        """uint8 [H, W] class indices (0 background) of an image: a file, or uint8 [H, W, 3] RGB or
        [H, W] grey.
        """
        return (
            classify(self.margins([self._read(image)])[0], threshold, self.temperature)
            .cpu()
            .numpy()
        )

    def probability(self, image: np.ndarray | str | Path) -> np.ndarray:
        """float32 [K, H, W] class probabilities of an image, at its own size; calibrated if the run
        is.
        """
        return probabilities(self.margins([self._read(image)])[0], self.temperature).cpu().numpy()

    def margins(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Native-size logits of several images [H, W, C] whose network inputs share one size; see
        `inference.margins`.
        """
        fitted = np.stack(
            [fit_image(image, self.given.size, self.given.resize) for image in images]
        )
        logits = forward(
            self.model,
            torch.from_numpy(fitted).to(self.device),
            self._mean,
            self._std,
            self.precision,
        )
        return margins(logits, [image.shape[:2] for image in images], self.given)

    def read(self, path: Path) -> np.ndarray:
        """Decode a file as the network expects it: uint8 [H, W, C]."""
        return read_image(path, channels=self.given.channels, bit_depth=self.given.bit_depth)

    def _read(self, image: np.ndarray | str | Path) -> np.ndarray:
        if not isinstance(image, np.ndarray):
            return self.read(Path(image))
        channels = self.given.channels
        if (
            image.dtype != np.uint8
            or image.ndim not in (2, 3)
            or (image.ndim == 3 and image.shape[2] not in (1, channels))
        ):
            raise UserError(
                f"image: got {image.dtype} {list(image.shape)}, expected uint8 [H, W, {channels}]"
                " or [H, W]"
            )
        image = image[..., None] if image.ndim == 2 else image
        return np.repeat(image, channels, axis=2) if image.shape[2] != channels else image

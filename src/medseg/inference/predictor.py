"""A trained network as a function from an image to its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.data.decode import read_image
from medseg.errors import UserError
from medseg.hardware import pick_accelerator, pick_precision
from medseg.inference.backends import Backend, TorchBackend
from medseg.inference.exported import ExportedBackend, is_exported, open_exported
from medseg.inference.postprocess import classify, margins, probabilities
from medseg.runs import Run

ImageLike = np.ndarray | str | Path | bytes


@dataclass(frozen=True)
class Prediction:
    """The answer for one image at its own size.

    mask: uint8 [H, W] class indices, 0 background; probability: float32 [K, H, W] of each class.
    """

    mask: np.ndarray
    probability: np.ndarray


class Predictor:
    """`Predictor.load("runs/mine").predict("image.png").mask`: images of any size and format.

    Needs nothing but the run folder or its checkpoint. Images are files, the bytes of files, or
    uint8 arrays [H, W, 3] RGB or [H, W] grey.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        classes: int,
        temperature: float = 1.0,
        class_names: tuple[str, ...] = (),
    ) -> None:
        self.backend, self.classes, self.temperature = backend, classes, temperature
        self.class_names = class_names
        self.preprocessing = backend.preprocessing

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        accelerator: str = "auto",
        precision: str = "auto",
        preprocessing: Path | None = None,
    ) -> Predictor:
        """From a run folder, a checkpoint, or a file that `medseg export` wrote.

        `preprocessing` is a YAML file that describes a bare network of another tool
        (docs/export.md). Raises `UserError` for a damaged, foreign or malicious file.
        """
        if is_exported(Path(run)):
            file = open_exported(Path(run), preprocessing=preprocessing, precision=precision)
            return cls.of_file(file)
        if preprocessing is not None:
            raise UserError(f"--preprocessing: {run} is a run and brings its own; leave it out")
        accelerator = pick_accelerator(accelerator)
        opened = Run.open(run)
        checkpoint = opened.checkpoint
        backend = TorchBackend(
            opened.network(accelerator),
            checkpoint.preprocessing,
            torch.device(accelerator),
            pick_precision(precision, accelerator),
        )
        return cls(
            backend,
            classes=checkpoint.classes,
            temperature=checkpoint.temperature,
            class_names=checkpoint.class_names,
        )

    @classmethod
    def of_file(cls, file: ExportedBackend) -> Predictor:
        """From an exported file that has been opened."""
        card = file.card
        return cls(
            file,
            classes=card.classes,
            temperature=file.temperature,
            class_names=card.class_names,
        )

    def predict(self, image: ImageLike, threshold: float = 0.5) -> Prediction:
        """Mask and class probabilities of an image at its own size, from one pass.

        Of two classes, pixels whose foreground probability is at least `threshold` are foreground.
        Probabilities are calibrated where the run is.
        """
        margin = self.margins([self._pixels(image)])[0]
        mask = classify(margin, self.backend.decision(threshold), self.temperature)
        probability = probabilities(margin, self.temperature)
        return Prediction(mask.cpu().numpy(), probability.cpu().numpy())

    def __call__(self, image: ImageLike, threshold: float = 0.5) -> np.ndarray:
        """The mask alone: uint8 [H, W] class indices."""
        pixels = self._pixels(image)
        masks = self.backend.masks(np.ascontiguousarray(pixels)[None], threshold)
        if masks is not None:
            return masks[0]
        margin = self.margins([pixels])[0]
        return classify(margin, self.backend.decision(threshold), self.temperature).cpu().numpy()

    def probability(self, image: ImageLike) -> np.ndarray:
        """The class probabilities alone: float32 [K, H, W]."""
        margin = self.margins([self._pixels(image)])[0]
        return probabilities(margin, self.temperature).cpu().numpy()

    def margins(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Native-size logits, see `postprocess.margins`, of images uint8 [H, W, C].

        Their network inputs share one size.
        """
        fitted = np.stack([self.preprocessing.fit(image) for image in images])
        logits = self.backend.logits(torch.from_numpy(fitted).to(self.backend.device))
        return margins(logits, [image.shape[:2] for image in images], self.preprocessing)

    def read(self, source: Path | bytes, page: int = 0) -> np.ndarray:
        """Decode a page of a file as the network expects it: uint8 [H, W, C]."""
        wanted = self.preprocessing
        return read_image(
            source, channels=wanted.channels, bit_depth=wanted.bit_depth, page=page
        ).pixels

    def _pixels(self, image: ImageLike) -> np.ndarray:
        """uint8 [H, W, C] of anything that stands for an image."""
        if isinstance(image, bytes):
            return self.read(image)
        if not isinstance(image, np.ndarray):
            return self.read(Path(image))
        channels = self.preprocessing.channels
        wrong_depth = image.ndim == 3 and image.shape[2] not in (1, channels)
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or wrong_depth:
            raise UserError(
                f"image: got {image.dtype} {list(image.shape)}, expected uint8 [H, W, {channels}]"
                " or [H, W]"
            )
        if image.ndim == 2:
            image = image[..., None]
        return np.repeat(image, channels, axis=2) if image.shape[2] != channels else image

"""How an image of any size becomes the network's input, and how the answer finds its way back.

Three resize policies:

- `square` stretches the image to the size (aspect ratio not kept), as most of the polyp literature
  does;
- `letterbox` keeps the aspect ratio and pads the rest: black in the image, ignored in the mask;
- `native-crop` leaves every pixel as it is: training sees random crops, inference the whole image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROUND_UP = np.float32(0.501)  # halves are frequent, and must not depend on the last bit
UNITS = 256  # of the weights of two neighbours

Size = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Preprocessing:
    """Size, resize policy, channels and normalisation of a network's input.

    It travels with the weights. `size` is height and width in pixels; `bit_depth` the significant
    bits of 16-bit files; `mean` and `std`, one value per channel, are of pixel values in 0..1.
    """

    size: Size
    resize: str = "square"
    channels: int = 3
    bit_depth: int = 16
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a checkpoint or the metadata of an exported file."""
        plain = asdict(self)
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Preprocessing:
        """What `to_dict` wrote."""
        values = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        return cls(**values)

    def box(self, native: Size) -> Box:
        """Where an image of `native` size lies in the input: top, left, height, width in pixels."""
        if self.resize == "native-crop":
            return 0, 0, *native
        if self.resize == "square":
            return 0, 0, *self.size
        high, wide = letterbox_size(self.size, native, min, max)
        return (self.size[0] - high) // 2, (self.size[1] - wide) // 2, high, wide

    def fit(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, C] at the input's size: sides that shrink averaged, others bilinear."""
        if self.resize == "native-crop":
            return np.ascontiguousarray(image)
        height, width = self.box(image.shape[:2])[2:]
        resized = _resize(image, height, width).reshape(height, width, image.shape[2])
        return self._padded(resized, image.shape[:2], fill=0)

    def fit_mask(self, mask: np.ndarray) -> np.ndarray:
        """uint8 [H, W] class indices at the input's size; padding is ignored (255).

        In a binary mask each new pixel takes the class that covers most of it; with several
        classes, or ignored pixels, the nearest.
        """
        if self.resize == "native-crop":
            return np.ascontiguousarray(mask)
        height, width = self.box(mask.shape)[2:]
        if mask.max(initial=0) <= 1:
            resized = (_resize(mask * 255, height, width) > 127).astype(np.uint8)
        else:
            resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return self._padded(resized, mask.shape, fill=255)

    def constants(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Mean and std as float32 tensors [C] on the device, copied there once."""
        return _constants(self.mean, self.std, str(device))

    def normalise(self, batch: Tensor) -> Tensor:
        """uint8 [B, H, W, C] as float32 [B, C, H, W], less the mean and over the std."""
        import torch

        mean, std = self.constants(batch.device)
        pixels = batch.permute(0, 3, 1, 2).to(torch.float32)
        return (pixels - (255 * mean)[:, None, None]) / (255 * std)[:, None, None]

    def restore(self, logits: Tensor, native: Size) -> Tensor:
        """Logits [B, K, h, w] of the input as float32 [B, K, H, W] of the native image, bilinear.

        The exact inverse of the geometry of `fit`.
        """
        import torch.nn.functional as F

        top, left, height, width = self.box(native)
        logits = logits[..., top : top + height, left : left + width].float()
        if (height, width) == tuple(native):
            return logits
        return F.interpolate(logits, size=tuple(native), mode="bilinear", align_corners=False)

    def _padded(self, resized: np.ndarray, native: Size, fill: int) -> np.ndarray:
        """The resized image or mask at its place in an input filled with `fill`."""
        top, left, height, width = self.box(native)
        if (height, width) == tuple(self.size):
            return resized
        canvas = np.full((*self.size, *resized.shape[2:]), fill, np.uint8)
        canvas[top : top + height, left : left + width] = resized
        return canvas


def letterbox_size(size: Size, native: Size, least: Callable, most: Callable) -> Size:
    """Height and width of an image of `native` size within `size`, at its own aspect ratio.

    In integers, which no runtime rounds; `least` and `most` are min and max for what the sizes are.
    """
    (high, wide), (rows, columns) = size, native
    return (
        least(high, most(1, (2 * rows * wide + columns) // (2 * columns))),
        least(wide, most(1, (2 * columns * high + rows) // (2 * rows))),
    )


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, C] at another size: first what shrinks, then what grows.

    In one call OpenCV's area interpolation would average neither side once one of them grows, but
    sample up to a pixel off centre. `export.graph` repeats both steps, so each is exact or nearly:
    the averages are taken in float32, and what is grown in integers (docs/design/0008).
    """
    smaller = min(height, image.shape[0]), min(width, image.shape[1])
    if image.shape[:2] != smaller:
        averages = cv2.resize(image.astype(np.float32), smaller[::-1], interpolation=cv2.INTER_AREA)
        image = (averages + ROUND_UP).astype(np.uint8)
    if smaller != (height, width):
        image = _grow(image, height, width)
    return np.ascontiguousarray(image)


def _grow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8, bilinear, at least as high and wide as the image; weights in units of 1 / 256."""
    above, below, weight = _neighbours(image.shape[0], height)
    rows = image.reshape(*image.shape[:2], -1).astype(np.uint32)
    weight = weight[:, None, None]
    rows = rows[above] * (UNITS - weight) + rows[below] * weight
    left, right, weight = _neighbours(image.shape[1], width)
    weight = weight[None, :, None]
    grown = rows[:, left] * (UNITS - weight) + rows[:, right] * weight
    grown = (grown + UNITS**2 // 2) // UNITS**2
    return grown.astype(np.uint8).reshape(height, width, *image.shape[2:])


def _neighbours(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels around each of `target`, and the weight of the second: integers [target]."""
    doubled = (2 * np.arange(target) + 1) * source - target  # the position, times 2 * target
    first, rest = np.divmod(doubled, 2 * target)
    weight = (UNITS * rest + target) // (2 * target)
    first_and_second = np.clip([first, first + 1], 0, source - 1)
    return *first_and_second, weight.astype(np.uint32)


@functools.lru_cache
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: str
) -> tuple[Tensor, Tensor]:
    import torch

    with torch.inference_mode(
        False
    ):  # first asked for in a prediction, they may be used in training
        return torch.tensor(mean, device=device), torch.tensor(std, device=device)

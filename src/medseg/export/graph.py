"""Images of any size to their masks, as one graph that every runtime repeats.

What `Preprocessing` and `postprocess` do, written with what exporters translate alike: integer
arithmetic on sizes, picking rows and columns, products and sums. Runtimes have operators for
resizing of their own, which agree neither with each other nor with OpenCV (docs/design/0008).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medseg.models.blocks import SegmentationNetwork
from medseg.preprocessing import ROUND_UP, UNITS, Preprocessing, letterbox_size

TINY = 1000  # OpenCV leaves out what covers less than this part of a pixel


class ImageToMask(nn.Module):
    """Images uint8 [B, H, W, C] to masks uint8 [B, H, W] of class indices, 0 background.

    With `probability`, also the probability of each class, float32 [B, K, H, W]. Of two classes,
    pixels whose foreground probability is at least `threshold` are foreground; of more, the
    likeliest class is taken. All images of a batch share one size; H, W and B are free. With
    `half` the network, and nothing else, computes in float16.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        preprocessing: Preprocessing,
        *,
        classes: int,
        temperature: float = 1.0,
        threshold: float = 0.5,
        probability: bool = False,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.half() if half else network
        self.in_half = half
        self.preprocessing = preprocessing
        self.classes = classes
        self.temperature = temperature
        self.edge = temperature * math.log(threshold / (1 - threshold))
        self.probability = probability
        mean, std = preprocessing.constants("cpu")
        self.register_buffer("mean", (255 * mean)[:, None, None])
        self.register_buffer("std", (255 * std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The mask, or the mask and the probabilities."""
        logits = self.logits(image)
        binary = self.classes == 2
        margin = logits[:, 1:] - logits[:, :1] if binary else logits
        margin = self.restore(margin, *image.shape[1:3])
        mask = margin[:, 0] >= self.edge if binary else margin.argmax(1)
        mask = mask.to(torch.uint8)
        if not self.probability:
            return mask
        margin = margin / self.temperature
        if binary:
            foreground = torch.sigmoid(margin)
            return mask, torch.cat([1 - foreground, foreground], 1)
        return mask, margin.softmax(1)

    def logits(self, image: Tensor) -> Tensor:
        """Logits [B, K, h, w] of the network's input, or of the padded image at native-crop."""
        if self.preprocessing.resize == "native-crop":
            pixels = self._padded(image).permute(0, 3, 1, 2).float()
        else:
            pixels = fit(image, self.preprocessing)
        pixels = (pixels - self.mean) / self.std
        pixels = pixels.half() if self.in_half else pixels
        if self.preprocessing.resize == "native-crop":
            return self.network.heads(self.network.stages(pixels), pixels)["main"].float()
        return self.network(pixels).float()

    def restore(self, margin: Tensor, height: int, width: int) -> Tensor:
        """[B, K, h, w] at the size of the image, [B, K, H, W]."""
        top, left, high, wide = _box(self.preprocessing, height, width)
        if self.preprocessing.resize == "native-crop":
            return margin[..., :height, :width]
        rows = _blended_rows(margin, *_stretched(top, high, height))
        return rows @ _matrix(*_stretched(left, wide, width), margin.shape[3])

    def _padded(self, image: Tensor) -> Tensor:
        """The image with its border repeated up to a size that the network takes, as its `fit`."""
        for axis in (1, 2):
            side = image.shape[axis]
            multiple = (side + self.network.stride - 1) // self.network.stride
            target = torch.sym_max(self.network.smallest, multiple * self.network.stride)
            image = image.index_select(axis, torch.arange(target).clamp(max=side - 1))
        return image


class BareNetwork(nn.Module):
    """Normalised images float32 [B, C, h, w] to logits float32 [B, K, h, w]."""

    def __init__(self, network: SegmentationNetwork, *, half: bool = False) -> None:
        super().__init__()
        self.network = network.half() if half else network
        self.in_half = half

    def forward(self, image: Tensor) -> Tensor:
        """The logits."""
        return self.network(image.half() if self.in_half else image).float()


def fit(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 [B, H, W, C] as whole numbers in float32 [B, C, h, w]: `Preprocessing.fit`.

    What shrinks is averaged first, then what grows is interpolated; each step is there for every
    size, and leaves the pixels as they are where the other is needed. Rows are picked and weighted
    while they lie together in memory; columns are a matrix product, which needs no picking.
    """
    height, width = image.shape[1:3]
    top, left, high, wide = _box(preprocessing, height, width)
    rows, columns = preprocessing.size
    x = _weighted_rows(image.flatten(2), *_cells(height, high, rows))
    x = x.unflatten(2, (width, image.shape[3])).permute(0, 3, 1, 2)
    x = x @ _matrix(*_cells(width, wide, columns), width)
    x = torch.floor(x + float(ROUND_UP))
    x = _blended_rows(x, *_neighbours(height, high, top, rows))
    x = x @ _matrix(*_neighbours(width, wide, left, columns), columns)
    return torch.floor(x + 0.5)


def _box(preprocessing: Preprocessing, height: int, width: int) -> tuple[int, int, int, int]:
    """`Preprocessing.box`, for sizes that are not known while the graph is made."""
    if preprocessing.resize != "letterbox":
        return preprocessing.box((height, width))
    rows, columns = preprocessing.size
    high, wide = letterbox_size((rows, columns), (height, width), torch.sym_min, torch.sym_max)
    return (rows - high) // 2, (columns - wide) // 2, high, wide


def _cells(source: int, target: int, length: int) -> tuple[Tensor, Tensor]:
    """Which pixels of `source` each of `target` averages, and by which weights: [length, n] each.

    A new pixel covers `source / target` old ones, some of them in part. Where that is less than
    one, it is the pixel of its own place. Rows from `target` on mean nothing.
    """
    place = torch.arange(length)[:, None]
    count = source // target + 2
    tap = torch.arange(count)[None]
    index = place * source // target + tap
    end = torch.minimum((index + 1) * target, (place + 1) * source)
    start = torch.maximum(index * target, place * source)
    overlap = (end - start).clamp(min=0)  # in units of 1 / target pixels
    overlap = torch.where(overlap * TINY <= target, torch.zeros_like(overlap), overlap)
    shrinks = torch.full((1, 1), source) > target
    index = torch.where(shrinks, index, place)
    weight = torch.where(shrinks, overlap.float() / source, (tap == 0).float())
    return index.clamp(max=source - 1), weight


def _neighbours(source: int, target: int, start: int, length: int) -> tuple[Tensor, Tensor]:
    """The two pixels around each of `target`, and their weights: [length, 2] each.

    The target begins at `start` of `length` places; the weights of the places around it are 0. Of
    what shrinks, `target` pixels are there already, and each is taken as it is.
    """
    place = torch.arange(length) - start
    doubled = (2 * place + 1) * source - target
    first = doubled // (2 * target)
    rest = doubled - first * 2 * target
    second_share = (UNITS * rest + target) // (2 * target)
    grows = torch.full((1,), source) < target
    first = torch.where(grows, first, place)
    second_share = torch.where(grows, second_share, torch.zeros_like(second_share))
    share = torch.stack([UNITS - second_share, second_share], 1).float() / UNITS
    inside = (place >= 0) & (place < target)
    last = torch.sym_min(source, target) - 1
    index = torch.stack([first, first + 1], 1).clamp(min=0, max=last)
    return index, share * inside[:, None].float()


def _weighted_rows(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """The weighted sums of rows of [B, H, N], float32 [B, length, N]."""
    length, count = index.shape
    picked = x.index_select(1, index.flatten()).float().unflatten(1, (length, count))
    return (weight[:, None] @ picked).squeeze(2)


def _blended_rows(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Two rows of [B, C, H, W] for each of [length, 2], weighted: [B, C, length, W]."""
    return x[:, :, index[:, 0]] * weight[:, :1] + x[:, :, index[:, 1]] * weight[:, 1:]


def _matrix(index: Tensor, weight: Tensor, source: int) -> Tensor:
    """The weights [length, n] of places in `source` as a matrix [source, length]."""
    matrix = torch.zeros(index.shape[0], source)
    return matrix.scatter_add(1, index, weight).T


def _stretched(start: int, source: int, target: int) -> tuple[Tensor, Tensor]:
    """The two of `source` places, from `start` on, around each of `target`, and their weights."""
    place = torch.arange(target)
    doubled = ((2 * place + 1) * source - target).clamp(min=0)
    first = doubled // (2 * target)
    share = (doubled - first * 2 * target).float() / (2 * target)
    second = (first + 1).clamp(max=source - 1)
    return torch.stack([first, second], 1) + start, torch.stack([1 - share, share], 1)

"""Batches of uint8 images straight from the cache: no decoding, no worker processes, no waiting.

A data set that fits moves to the device once; otherwise batches are gathered from the memory map
and copied over. Which images make up a batch is a function of (seed, epoch, step), so any step can
be repeated or resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.data.cache import Store
from medseg.data.randomness import name_keys, order, uniforms

Size = tuple[int, int]
_CROP = np.uint64(0xC60B)  # apart from the numbers that the augmentation draws for the same sample


@dataclass(frozen=True)
class Batch:
    """Images and masks on the device, and what they are.

    image uint8 [B, h, w, C], mask uint8 [B, h, w]; names and their keys (uint64 [B]) on the
    host.
    """

    image: Tensor
    mask: Tensor
    names: list[str]
    keys: np.ndarray
    index: np.ndarray


class TrainBatches:
    """Full batches in a new order each epoch.

    The images left over at the end of an epoch are elsewhere in the next. `batch_size` is the
    global one: process `rank` of `world` gets its equal share of every batch. `window` (height,
    width) is the crop taken from images of native size, padded with black and `ignore_index`
    where they are smaller.
    """

    def __init__(
        self,
        store: Store,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        window: Size | None = None,
        ignore_index: int = 255,
    ) -> None:
        self.store, self.batch_size, self.seed, self.device = store, batch_size, seed, device
        self.rank, self.world, self.window, self.ignore_index = rank, world, window, ignore_index
        self.keys = name_keys(store.names)
        self.steps = max(1, len(store) // batch_size)
        self._resident = None
        if _fits_on_device(store, device):
            images, masks = store.arrays()
            self._resident = _to_device(images, device), _to_device(masks, device)

    def indices(self, epoch: int, start: int = 0) -> Iterator[np.ndarray]:
        """The images of this process in each step from `start` on, as positions in the store."""
        # once: sorting in each step would make an epoch's cost quadratic
        images = order(self.seed, epoch, self.keys)
        for step in range(start, self.steps):
            batch = images[step * self.batch_size : (step + 1) * self.batch_size]
            share = len(batch) // self.world
            yield batch[self.rank * share : (self.rank + 1) * share]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        for index in self.indices(epoch, start):
            image, mask = self._gather(index, epoch)
            yield Batch(image, mask, [self.store.names[i] for i in index], self.keys[index], index)

    def _gather(self, index: np.ndarray, epoch: int) -> tuple[Tensor, Tensor]:
        """The images and masks at these positions, on the device."""
        if self._resident is not None:
            where = torch.from_numpy(index).to(self.device, non_blocking=True)
            return self._resident[0][where], self._resident[1][where]
        if self.window is not None:
            pairs = [self._crop(i, epoch) for i in index]
        else:
            pairs = [(self.store.image(i), self.store.mask(i)) for i in index]
        images, masks = zip(*pairs, strict=True)
        return _to(np.stack(images), self.device), _to(np.stack(masks), self.device)

    def _crop(self, i: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """A random window of an image and its mask; the place depends on (seed, epoch, name)."""
        at_y, at_x = uniforms(self.seed, epoch, self.keys[i : i + 1] ^ _CROP, 2)[0]
        image, mask = self.store.image(i), self.store.mask(i)
        rows, rows_in_window = _overlap(mask.shape[0], self.window[0], at_y)
        columns, columns_in_window = _overlap(mask.shape[1], self.window[1], at_x)
        image_window = np.zeros((*self.window, image.shape[2]), np.uint8)
        mask_window = np.full(self.window, self.ignore_index, np.uint8)
        image_window[rows_in_window, columns_in_window] = image[rows, columns]
        mask_window[rows_in_window, columns_in_window] = mask[rows, columns]
        return image_window, mask_window


def evaluation_batches(
    store: Store, *, batch_size: int, device: torch.device, rank: int = 0, world: int = 1
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Positions in the store and images uint8 [B, h, w, C], each image exactly once.

    The images of a batch have one size. The batches do not depend on `world`: processes take
    whole batches in turn, so that every number is the same for any number of processes, to the
    last count.
    """
    by_shape: dict[Size, list[int]] = {}
    for i, shape in enumerate(store.shapes):
        by_shape.setdefault(shape, []).append(i)
    batches = [
        group[at : at + batch_size]
        for group in by_shape.values()
        for at in range(0, len(group), batch_size)
    ]
    for group in batches[rank::world]:
        yield np.array(group), _to(np.stack([store.image(i) for i in group]), device)


def _overlap(length: int, window: int, place: float) -> tuple[slice, slice]:
    """Along one axis, the pixels of an image that a window shows, and where they lie in it.

    `place`, from 0 to 1, moves the window over a longer image; a shorter one is centred in it.
    """
    room = length - window
    if room > 0:
        start = int(place * (room + 1))
        return slice(start, start + window), slice(0, window)
    start = -room // 2
    return slice(0, length), slice(start, start + length)


def _fits_on_device(store: Store, device: torch.device) -> bool:
    """Whether all images have one size and take less than 40 % of the GPU's free memory."""
    if device.type != "cuda" or not store.uniform:
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return store.nbytes < 0.4 * free


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of a memory-mapped array."""
    return torch.from_numpy(np.array(array)).to(device)


def _to(array: np.ndarray, device: torch.device) -> Tensor:
    """A batch on the device, copied while the host goes on where the device is a GPU."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

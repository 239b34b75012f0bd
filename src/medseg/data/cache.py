"""Every image is decoded once: uint8 arrays on disk, memory-mapped afterwards.

The name is a hash of the files' bytes and of the settings that shape the result, so a
changed file, size or policy makes a new entry and an unchanged one is found again wherever
the data set has moved to.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg.data.decode import Image, read_image
from medseg.data.digests import digests_of
from medseg.data.masks import MaskCoding, read_classes
from medseg.data.sample import Item, size_mismatch
from medseg.errors import UserError
from medseg.files import lock, mark_used
from medseg.preprocessing import Preprocessing

VERSION = 4  # raise when the stored arrays change for the same settings
Size = tuple[int, int]
Progress = Callable[[int, int], None]


class Decoded(NamedTuple):
    """One item as it is stored, the size of its files, and the bits that its image uses."""

    image: np.ndarray
    mask: np.ndarray
    native: Size
    used: tuple[int, int]


class Store:
    """Images and masks of one part, in order, as views into memory-mapped bytes."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.names = list(names)
        about = json.loads((folder / "index.json").read_text())
        self.channels: int = about["channels"]
        self.shapes = [tuple(shape) for shape in about["shapes"]]  # network input: height, width
        self.native = [tuple(shape) for shape in about["native"]]  # file: height, width
        self.used: tuple[int, int] = tuple(about["used"])  # highest value of the images, and white
        self.mask_shapes = [tuple(shape) for shape in about["mask_shapes"]]
        self._images = np.memmap(folder / "images.u8", np.uint8, "r")
        self._masks = np.memmap(folder / "masks.u8", np.uint8, "r")
        self._image_at = _starts(height * width * self.channels for height, width in self.shapes)
        self._mask_at = _starts(height * width for height, width in self.mask_shapes)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def uniform(self) -> bool:
        """Whether all images, and all masks, have one size, so that there are `arrays`."""
        return (
            len(set(self.shapes)) == 1
            and self.mask_shapes == self.shapes
            and self._images.size == len(self) * int(np.prod(self.shapes[0])) * self.channels
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all images and masks of the entry on disk, also for a `subset`."""
        return self._images.nbytes + self._masks.nbytes

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, C], a read-only view."""
        height, width = self.shapes[index]
        start = self._image_at[index]
        return self._images[start : start + height * width * self.channels].reshape(
            height, width, self.channels
        )

    def mask(self, index: int) -> np.ndarray:
        """uint8 [H, W] class indices, a read-only view."""
        height, width = self.mask_shapes[index]
        return self._masks[self._mask_at[index] : self._mask_at[index] + height * width].reshape(
            height, width
        )

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All images [N, H, W, C] and masks [N, H, W] as views; only for a `uniform` store."""
        return (
            self._images.reshape(len(self), *self.shapes[0], self.channels),
            self._masks.reshape(len(self), *self.mask_shapes[0]),
        )

    def subset(self, index: Sequence[int]) -> Store:
        """The images at these positions, under new positions, over the same bytes."""
        part = copy.copy(self)
        for name in ("names", "shapes", "native", "mask_shapes", "_image_at", "_mask_at"):
            values = getattr(self, name)
            setattr(part, name, [values[i] for i in index])
        return part


def default_folder() -> Path:
    """`$MEDSEG_CACHE`, else `medseg` under the user's cache folder."""
    if os.environ.get("MEDSEG_CACHE"):
        return Path(os.environ["MEDSEG_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medseg"


def content(items: Sequence[Item], workers: int = 4) -> list[str]:
    """A digest of each item's image and mask bytes."""
    return [" ".join(digests) for digests in digests_of(items, workers)]


def open_store(
    items: Sequence[Item],
    coding: MaskCoding,
    preprocessing: Preprocessing,
    *,
    native_masks: bool = False,
    folder: Path | None = None,
    workers: int = 4,
    progress: Progress | None = None,
) -> Store:
    """The decoded `items` as a `Store`, made on the first call for this content and these settings.

    Images are fitted by `preprocessing`; masks too, or left at their own size (`native_masks`, for
    evaluation). Raises `UserError` for a file that cannot be decoded, an image and mask of
    different sizes, or a folder that is full or not writable. Several processes may ask at once:
    one builds, the others wait for it.
    """
    folder = folder or default_folder()
    key = _key(items, coding, preprocessing, native_masks, workers)
    entry = folder / key
    index = entry / "index.json"

    def decode_item(item: Item) -> Decoded:
        image, mask = _decode_pair(item, coding, preprocessing)
        fitted = mask if native_masks else preprocessing.fit_mask(mask)
        pixels = image.pixels
        return Decoded(preprocessing.fit(pixels), fitted, pixels.shape[:2], image.used)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not index.exists():  # what is there needs no lock, and may be another user's
            with lock(folder / f"{key}.lock", "", wait=True):
                if not index.exists():
                    _check_room(folder, len(items), preprocessing, native_masks)
                    with _building(folder, entry) as half:
                        _write(half, items, decode_item, workers, progress)
    except OSError as error:
        raise UserError(
            f"cache folder {folder}: {error.strerror} while storing {len(items)} images; make room"
            " there or give another with --cache-dir"
        ) from None
    mark_used(entry)
    return Store(entry, [item.name for item in items])


@contextmanager
def _building(folder: Path, entry: Path) -> Iterator[Path]:
    """A new folder that becomes `entry` when the block ends, unless somebody was faster.

    It is as open to others as the user's umask says, which a folder of `tempfile` is not.
    """
    half = folder / f".building-{secrets.token_hex(8)}"
    half.mkdir()
    try:
        yield half
        try:
            os.replace(half, entry)
        except OSError:
            if not (entry / "index.json").exists():  # as where locks do not work
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _key(
    items: Sequence[Item],
    coding: MaskCoding,
    preprocessing: Preprocessing,
    native_masks: bool,
    workers: int,
) -> str:
    """A digest of the files and of all that shapes the stored arrays; mean and std do not."""
    settings = {
        "size": preprocessing.size,
        "resize": preprocessing.resize,
        "channels": preprocessing.channels,
        "bit_depth": preprocessing.bit_depth,
        "native_masks": native_masks,
    }
    about = json.dumps(
        [VERSION, settings, coding.to_dict() | {"text": ""}, content(items, workers)], default=str
    )
    return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


def _check_room(
    folder: Path, images: int, preprocessing: Preprocessing, native_masks: bool
) -> None:
    """`UserError` where the entry cannot fit, before hours of decoding.

    Sizes that only the files know are not counted.
    """
    if preprocessing.resize == "native-crop":
        return
    height, width = preprocessing.size
    needed = images * height * width * (preprocessing.channels + (not native_masks))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"cache folder {folder}: {images} images of {height}x{width} need {needed / 2**30:.1f}"
            f" GiB, {free / 2**30:.1f} GiB are free; make room there, give another with --cache-dir"
            " or lower --size"
        )


def read_pair(
    item: Item, coding: MaskCoding, preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H, W, C] and mask uint8 [H, W] of one item, at their own size.

    Raises `UserError` when their sizes differ.
    """
    image, mask = _decode_pair(item, coding, preprocessing)
    return image.pixels, mask


def _decode_pair(
    item: Item, coding: MaskCoding, preprocessing: Preprocessing
) -> tuple[Image, np.ndarray]:
    image = read_image(
        item.image,
        channels=preprocessing.channels,
        bit_depth=preprocessing.bit_depth,
        page=item.page,
    )
    mask = read_classes(item, coding)
    if image.pixels.shape[:2] != mask.shape:
        raise size_mismatch(item, image.pixels.shape[:2], mask.shape)
    return image, mask


def _write(
    folder: Path,
    items: Sequence[Item],
    decode_item: Callable[[Item], Decoded],
    workers: int,
    progress: Progress | None,
) -> None:
    """Write the arrays of all items and their index, a few items at a time."""
    shapes, mask_shapes, native = [], [], []
    used: set[tuple[int, int]] = set()
    channels = 0
    ahead = 4 * workers  # bounded: a set larger than memory streams through
    with (
        ThreadPoolExecutor(workers) as pool,
        open(folder / "images.u8", "wb") as images,
        open(folder / "masks.u8", "wb") as masks,
    ):
        for start in range(0, len(items), ahead):
            for image, mask, size, bits in pool.map(decode_item, items[start : start + ahead]):
                images.write(image.data)
                masks.write(np.ascontiguousarray(mask).data)
                shapes.append(image.shape[:2])
                mask_shapes.append(mask.shape)
                native.append(size)
                used.add(bits)
                channels = image.shape[2]
                if progress:
                    progress(len(shapes), len(items))
    about = {
        "shapes": shapes,
        "mask_shapes": mask_shapes,
        "native": native,
        "channels": channels,
        "used": max(used, key=lambda each: each[::-1]),  # of the deepest images
    }
    (folder / "index.json").write_text(json.dumps(about))


def _starts(lengths: Iterable[int]) -> list[int]:
    return list(accumulate(lengths, initial=0))[:-1]

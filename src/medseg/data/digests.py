"""Digests of the bytes of images and masks: a file is known by them wherever it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg.data.sample import Item
from medseg.data.sealed import check_open
from medseg.errors import UserError


class Digests(NamedTuple):
    """Of an item's image file and of its masks, in hexadecimal; with its page behind a dot."""

    image: str
    mask: str


def digests_of(items: Sequence[Item], workers: int = 4) -> list[Digests]:
    """The digests of each item; several masks have one together, whatever their order.

    A file is read once in a process, unless it changes. Raises `UserError` for one that cannot be
    read or is sealed.
    """
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(_digests, items))


def pixel_digest(pixels: np.ndarray) -> str:
    """A hash of the size and the pixels of an image or mask, whatever its file format."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _digests(item: Item) -> Digests:
    page = f".{item.page}" if item.page else ""
    masks = sorted(_digest(path) for path in item.masks)
    mask = masks[0] if len(masks) == 1 else _blake("".join(masks).encode())
    return Digests(_digest(item.image) + page, mask + page)


def _digest(path: Path) -> str:
    check_open(path)  # also where it was read before
    try:
        found = path.stat()
        state = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return _digest_in_state(path, state)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None


@lru_cache(maxsize=1 << 20)
def _digest_in_state(path: Path, state: tuple[int, ...]) -> str:
    """The digest of a file; `state` is what changes with its content."""
    return _blake(path.read_bytes())


def _blake(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()

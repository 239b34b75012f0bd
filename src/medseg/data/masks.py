"""What the values of masks mean: recognised over the whole set, logged, then applied."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.decode import read_mask
from medseg.data.sample import Item
from medseg.data.sealed import check_open
from medseg.errors import UserError

THRESHOLD = 127  # of 0/255 masks; JPEG noise and anti-aliased edges fall on either side of it
MIDDLE = slice(64, 192)  # values that a 0/255 mask holds at its edges only,
MIDDLE_SHARE = 0.05  # in at most this share of its pixels
LARGEST_INDEX = 63  # larger values than this are no class indices, unless classes are declared
_KNOWN: dict[str, MaskCoding] = {}  # by the key of `_files_key`


@dataclass(frozen=True)
class MaskCoding:
    """How the masks of a set are coded.

    `kind` is "binary-255" (threshold 127), "binary-01" or "index"; `classes` counts the
    background; `text` is for the user.
    """

    kind: str
    classes: int
    text: str


def survey(
    items: Sequence[Item],
    *,
    kind: str = "auto",
    classes: int = 0,
    workers: int = 4,
    read: Callable[[Path], np.ndarray] = read_mask,
) -> MaskCoding:
    """How the masks of a set are coded, from the values of all of them.

    `kind` and `classes` override what is recognised. Raises `UserError` naming the file for
    values that fit no coding, a class index beyond `classes`, and for a set without any
    foreground unless `kind` is declared. The result is kept for the process: the trials of a
    search ask again about the same files, and decoding all masks takes as long as several epochs
    of a small training.
    """
    key = _files_key(items, kind, classes) if read is read_mask else ""
    coding = _KNOWN.get(key) or _survey(items, kind, classes, workers, read)
    if key:
        _KNOWN[key] = coding
    return coding


def _files_key(items: Sequence[Item], kind: str, classes: int) -> str:
    """Changes with the files, whatever their order."""
    total = hashlib.blake2b(f"{kind} {classes}".encode(), digest_size=16)
    for path in sorted(str(path) for item in items for path in item.masks):
        check_open(Path(path))
        try:
            found = os.stat(path)
        except OSError:
            return ""  # the reader says what is wrong
        total.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return total.hexdigest()


def _survey(
    items: Sequence[Item], kind: str, classes: int, workers: int, read: Callable[[Path], np.ndarray]
) -> MaskCoding:
    """`survey`, without looking among the results kept."""

    def histogram(item: Item) -> np.ndarray:
        return np.bincount(read(item.mask).ravel(), minlength=256)

    with ThreadPoolExecutor(workers) as pool:
        counts = np.array(list(pool.map(histogram, items)), np.int64)  # [masks, 256]
    declared = kind != "auto"
    kind = kind if declared else recognise(counts.sum(0) > 0, classes)
    if kind != "index" and classes > 2:
        raise UserError(
            f"--classes {classes}: the masks hold {_values(counts.sum(0))}, which is 2 classes;"
            f" expected class indices 0 to {classes - 1}"
        )
    foreground_end = 256 if kind == "binary-255" else 255  # elsewhere 255 is ignored
    if not declared and not counts[:, 1:foreground_end].any():
        raise UserError(
            f"no foreground in {len(items)} masks: every one is empty; check that the masks belong"
            " to the images and how they are coded (0 background, 255 or 1 foreground)"
        )
    if kind == "binary-255":
        return _binary_255(items, counts)
    if kind == "binary-01":
        _refuse_beyond(items, counts, 2)
        return MaskCoding(kind, 2, f"masks: 0/1 in {len(items)} files{_ignored(counts)}")
    return _index(items, counts, classes)


def read_classes(item: Item, coding: MaskCoding) -> np.ndarray:
    """uint8 [H, W] class indices (255 ignored) of an item's masks, united where it has several.

    Raises `UserError` for masks of different sizes.
    """
    united: np.ndarray | None = None
    for path in item.masks:
        classes = decode_mask(read_mask(path), coding, name=str(path))
        if united is not None and classes.shape != united.shape:
            raise UserError(
                f"{path}: is {classes.shape[1]}x{classes.shape[0]} pixels, {item.mask.name}"
                f" {united.shape[1]}x{united.shape[0]}; the masks of one image have one size"
            )
        united = classes if united is None else np.maximum(united, classes)
    return united


def decode_mask(values: np.ndarray, coding: MaskCoding, *, name: str) -> np.ndarray:
    """uint8 [H, W] class indices (255 ignored) of the raw values of a mask file."""
    if coding.kind == "binary-255":
        return (values > THRESHOLD).view(np.uint8)
    wrong = (values >= coding.classes) & (values != 255)
    if wrong.any():
        raise UserError(
            f"{name}: holds the value {int(values[wrong][0])}, expected class indices below"
            f" {coding.classes}, or 255 for ignored pixels"
        )
    return values


def recognise(present: np.ndarray, classes: int = 0) -> str:
    """The kind of coding that the values present, bool [256], stand for.

    0 alone counts as "binary-255".
    """
    values = set(np.flatnonzero(present).tolist())
    if values <= {0, 255}:
        return "binary-255"
    if values <= {0, 1, 255}:
        return "binary-01" if classes <= 2 else "index"
    if max(values - {255}) <= max(LARGEST_INDEX, classes):
        return "index"
    return "binary-255"


def _index(items: Sequence[Item], counts: np.ndarray, classes: int) -> MaskCoding:
    """The coding of masks of class indices; without `classes`, as many as there are."""
    found = int(np.flatnonzero(counts[:, :255].any(0)).max(initial=0)) + 1
    _refuse_beyond(items, counts, classes or found)
    classes = classes or max(2, found)
    text = (
        f"masks: class indices 0 to {found - 1} in {len(items)} files, {classes} classes"
        f"{_ignored(counts)}"
    )
    return MaskCoding("index", classes, text)


def _binary_255(items: Sequence[Item], counts: np.ndarray) -> MaskCoding:
    """The coding of 0/255 masks; `UserError` for one with many values between."""
    share = counts[:, MIDDLE].sum(1) / np.maximum(1, counts.sum(1))
    if share.max() > MIDDLE_SHARE:
        worst = int(share.argmax())
        raise UserError(
            f"{items[worst].mask}: holds the values {_values(counts[worst])}; expected 0 and 255"
            f" (with at most {MIDDLE_SHARE:.0%} of pixels between, as at soft edges), 0 and 1, or"
            " class indices 0, 1, 2, ..."
        )
    noisy = int((counts[:, 1:255].any(1)).sum())
    noise = f", {noisy} of them with values between, threshold {THRESHOLD}" if noisy else ""
    return MaskCoding("binary-255", 2, f"masks: 0/255 in {len(items)} files{noise}")


def _refuse_beyond(items: Sequence[Item], counts: np.ndarray, classes: int) -> None:
    """`UserError` for the first mask with a class index of `classes` or more."""
    beyond = counts[:, classes:255].any(1)
    if beyond.any():
        at = int(beyond.argmax())
        value = classes + int((counts[at, classes:255] > 0).argmax())
        raise UserError(
            f"{items[at].mask}: holds the class index {value}, expected 0 to {classes - 1} for"
            f" {classes} classes (255 is ignored); correct the mask or --classes"
        )


def _values(counts: np.ndarray) -> str:
    """The values of a histogram, the first 8 of many."""
    found = np.flatnonzero(counts).tolist()
    text = ", ".join(map(str, found[:8]))
    return f"{text}, ... ({len(found)} values)" if len(found) > 8 else text


def _ignored(counts: np.ndarray) -> str:
    """A note on ignored pixels where there are some."""
    touched = int((counts[:, 255] > 0).sum())
    return f"; 255 is ignored ({touched} files)" if touched else ""

"""The meaning of a set's mask values, from how much each covers and in how many files.

Which values occur is not enough: 0, 11, 12 and 255 are a 0/255 mask with residue of a codec, or
classes with an ignored border. What is drawn has area, in most files; noise has none, or comes in
many values. Where neither is clear, the set is refused, and the user says what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.data.masks.coding import IGNORED, THRESHOLD, MaskCoding
from medseg.data.masks.facts import INDEX_RANGE, Histogram
from medseg.errors import UserError

MIDDLE = (64, 192)  # a 0/255 mask holds values from 64 to 191 at its edges only,
MIDDLE_SHARE = 0.05  # in at most this share of its pixels
BRIGHT = 192  # values from here on are 255 with noise
NOISE_LEVELS = 3  # more values without an inside than two slips of a brush
NOISE_SHARE = 0.01  # of the area of 255: fewer pixels than this beside it are noise
SOLID_SHARE = 0.05  # a value with a smaller share of its pixels inside shapes is noise
SLIP = 10  # pixels in the whole set: fewer of an odd value are a slip
MANY = 6  # numbered objects in one mask, from which classes 1, 2, 3, ... are doubted


@dataclass(frozen=True)
class Plane:
    """A mask file in the layout of its set."""

    path: Path
    histogram: Histogram
    lossy: bool


class Census:
    """The values of all masks of a set: how many pixels, how many inside shapes, in which files."""

    def __init__(
        self, planes: Sequence[Plane], ignored: Sequence[int] = (), *, indexed: bool = False
    ) -> None:
        self.planes = planes
        self.indexed = indexed  # the files themselves say that their values are indices
        self.ignored = list(ignored)
        found = [plane.histogram.levels for plane in planes]
        levels = np.unique(np.concatenate(found)) if found else np.array([], np.int64)
        self.every_level = levels
        self.levels = levels[~np.isin(levels, self.ignored)]
        shape = len(planes), len(self.levels)
        self.counts, self.solid = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, plane in enumerate(planes):
            histogram = plane.histogram
            keep = ~np.isin(histogram.levels, self.ignored)
            at = np.searchsorted(self.levels, histogram.levels[keep])
            self.counts[row, at] = histogram.counts[keep]
            self.solid[row, at] = histogram.solid[keep]
        self.size = np.array([plane.histogram.pixels for plane in planes])

    def within(self, low: int, high: int) -> np.ndarray:
        """bool [levels]: those from `low` up to, without, `high`."""
        return (self.levels >= low) & (self.levels < high)

    def area(self, which: np.ndarray) -> np.ndarray:
        """int64 [files]: pixels that hold one of the levels."""
        return self.counts[:, which].sum(1)

    def inside(self, which: np.ndarray) -> np.ndarray:
        """int64 [files]: pixels inside shapes of one of the levels."""
        return self.solid[:, which].sum(1)

    def file(self, which: np.ndarray) -> Path:
        """The first file of a bool [files]."""
        return self.planes[int(which.argmax())].path

    def text(self, row: int) -> str:
        """The values of one file, for a message."""
        return listed(self.planes[row].histogram.levels)


def listed(levels: Sequence[int] | np.ndarray) -> str:
    """Values for a message, the first 8 of many."""
    text = ", ".join(str(int(level)) for level in levels[:8])
    return f"{text}, ... ({len(levels)} values)" if len(levels) > 8 else text


def recognise(census: Census) -> MaskCoding:
    """The coding of a set that nobody declared. Raises `UserError` where it is not clear."""
    levels = set(census.levels.tolist())
    if levels <= {0}:
        raise _no_foreground(census)
    if len(levels) == 1:
        value = levels.pop()
        raise UserError(
            f"{census.planes[0].path}: every mask holds {value} in every pixel; expected"
            " background and foreground (0 and 255, 0 and 1, or class indices)"
        )
    if 0 in census.ignored:
        return indices(census, void=255 in levels)
    if any(plane.lossy for plane in census.planes):
        return _lossy(census)
    if len(levels) == 2:
        return two_values(census)
    if census.levels[-1] < BRIGHT:
        return indices(census)
    return _beside_255(census)


def _lossy(census: Census) -> MaskCoding:
    """Masks some or all of which went through a lossy codec, which keeps 0 and 255 apart only."""
    lossless = [plane for plane in census.planes if not plane.lossy]
    lossy = next(plane for plane in census.planes if plane.lossy)
    others = Census(lossless, census.ignored)
    classes = census.levels[-1] < BRIGHT
    if not classes and (others.levels > 0).any() and len(others.levels) > 1:
        classes = recognise(others).kind != "binary-255"
    if classes:
        raise UserError(
            f"{lossy.path}: holds the values {listed(lossy.histogram.levels)} in a lossy format,"
            " which changes class indices and other small values; save the masks as PNG"
        )
    return noisy_binary(census)


def two_values(census: Census) -> MaskCoding:
    """Background and foreground, whatever they are."""
    low, high = map(int, census.levels)
    kind = {(0, 255): "binary-255", (0, 1): "binary-01"}.get((low, high), "binary")
    files = len(census.planes)
    text = f"masks: {low}/{high} in {files} files"
    if kind == "binary":
        text += f": two values in the whole set, {low} is background and {high} foreground"
    table = ((low, 0), (high, 1))
    threshold = THRESHOLD if kind == "binary-255" else None
    return MaskCoding(kind, 2, text, table, threshold)


def noisy_binary(census: Census) -> MaskCoding:
    """0/255 with values between, split at the threshold; `UserError` for too many in the middle."""
    middle = census.area(census.within(*MIDDLE))
    drawn = census.area(census.levels > 0)
    wrong = (middle > MIDDLE_SHARE * census.size) | (2 * middle > np.maximum(drawn, 2 * SLIP))
    if wrong.any():
        row = int((middle / np.maximum(1, census.size) * wrong).argmax())
        raise UserError(
            f"{census.planes[row].path}: holds the values {census.text(row)}; expected 0 and 255"
            f" (with at most {MIDDLE_SHARE:.0%} of pixels between, as at soft edges), 0 and 1, or"
            " class indices 0, 1, 2, ...; --class-map VALUE=CLASS ... says what each stands for"
        )
    noisy = int((census.area((census.levels > 0) & (census.levels < 255)) > 0).sum())
    text = f"masks: 0/255 in {len(census.planes)} files"
    if noisy:
        text += f", {noisy} of them with values between, threshold {THRESHOLD}"
    return MaskCoding("binary-255", 2, text, (), THRESHOLD)


def indices(
    census: Census, classes: int = 0, *, void: bool = False, told: bool = False
) -> MaskCoding:
    """Class indices: those that occur, or 0 to `classes` - 1. With `void`, 255 is ignored.

    Where nobody has `told` that they are class indices, values that are hardly such are refused.
    """
    keep = census.levels < 255 if void else np.ones(len(census.levels), bool)
    if classes:
        _refuse_beyond(census, keep, classes)
        values, slips = list(range(classes)), []
    else:
        values, slips = _classes_of(census, keep)
        if not told:
            _refuse_unlikely(census, values, keep)
        elif values[:1] != [0]:
            values = [0, *values]
        if len(values) < 2:
            raise UserError(
                f"{census.planes[0].path}: holds the values {census.text(0)}: beside 0 only 255,"
                " which class indices ignore; --mask-kind binary-255 takes it for foreground"
            )
    table = [(value, index) for index, value in enumerate(values)]
    table += [(value, IGNORED) for value in slips]
    table += [(255, IGNORED)] if void else []
    files = len(census.planes)
    if values == list(range(len(values))):
        text = f"masks: class indices 0 to {values[-1]} in {files} files, {len(values)} classes"
    else:
        text = (
            f"masks: the values {listed(values)} in {files} files, which are the classes 0 to"
            f" {len(values) - 1}"
        )
    for value in slips:
        row = census.counts[:, census.levels == value].ravel()
        text += (
            f"; the value {value} in {row.sum()} pixels of {census.file(row > 0).name} is taken for"
            " a slip and ignored"
        )
    return MaskCoding("index", len(values), text + void_note(census, void), tuple(table))


def void_note(census: Census, void: bool) -> str:
    """A note on pixels of 255 where these are ignored."""
    touched = int((census.area(census.levels == 255) > 0).sum()) if void else 0
    return f"; 255 is ignored ({touched} files)" if touched else ""


def zero_one(census: Census) -> MaskCoding:
    """0/1; 255, where it occurs, is ignored. `UserError` for other values."""
    _refuse_beyond(census, census.levels != 255, 2)
    void = 255 in census.levels
    text = f"masks: 0/1 in {len(census.planes)} files{void_note(census, void)}"
    return MaskCoding("binary-01", 2, text, ((0, 0), (1, 1), *(((255, IGNORED),) * void)))


def _beside_255(census: Census) -> MaskCoding:
    """Values among which some are from 192 on: 0/255 with noise, or classes beside ignored 255."""
    low = census.within(1, BRIGHT)
    noise_levels = _noise_levels(census)
    _refuse_thin_classes(census, low)
    if noise_levels >= NOISE_LEVELS:
        return noisy_binary(census)
    drawn = (census.area(census.levels > 0) > 0).sum()
    real = census.inside(low & ~_slips(census)) > 0  # files that show an inside of such a value
    white = census.inside(census.within(BRIGHT, 256)) > 0
    small = census.area(low)
    if not real.any():
        few = small <= np.maximum(SLIP, NOISE_SHARE * census.area(census.within(BRIGHT, 256)))
        if few.all() or noise_levels:
            return noisy_binary(census)
        raise _unclear(census, int((~few).argmax()))
    only_white = white & ~(small > 0)
    without_white = real & ~(census.area(census.within(BRIGHT, 256)) > 0)
    if only_white.any() and without_white.any():
        raise _mixed(census, without_white, only_white)
    index_fails = 2 * real.sum() <= drawn or only_white.any()
    if index_fails and not without_white.any():
        return _with_residue(census, real)
    others = census.levels[low | (census.within(BRIGHT, 255))]
    if only_white.any() or 2 * real.sum() <= drawn or others[-1] > INDEX_RANGE:
        raise _unclear(census, int(real.argmax()))
    inner = census.levels[low & ~_slips(census)]
    gaps = inner.tolist() != list(range(1, len(inner) + 1))
    if gaps and census.inside(census.levels == 255).sum() > census.inside(low).sum():
        raise _unclear(census, int(real.argmax()))
    if inner.tolist() == [1] and not _slips(census).any():
        return zero_one(census)
    return indices(census, void=True)


def _refuse_thin_classes(census: Census, low: np.ndarray) -> None:
    """`UserError` for values 1, 2, ... without an inside beside 255: lines, or noise?"""
    values = census.levels[low & ~_slips(census)].tolist()
    bright = census.within(BRIGHT, 256)
    between = census.levels[census.within(INDEX_RANGE + 1, 255)]
    if not values or values != list(range(1, len(values) + 1)) or len(between):
        return
    area, solid = census.area(low), census.inside(low)
    thin = (solid == 0) & (area > np.maximum(SLIP, NOISE_SHARE * census.area(bright)))
    if thin.any():
        raise _unclear(census, int(thin.argmax()))


def _with_residue(census: Census, real: np.ndarray) -> MaskCoding:
    """0/255 masks, of which a few files hold areas of small values beside larger ones of 255."""
    small = census.inside(census.within(1, BRIGHT))
    unlike = real & (small > NOISE_SHARE * census.inside(census.within(BRIGHT, 256)))
    if unlike.any():
        raise _unclear(census, int(unlike.argmax()))
    coding = noisy_binary(census)
    note = (
        f"; areas below it in {real.sum()} files, such as {census.file(real).name}, are background"
    )
    return replace(coding, text=coding.text + note)


def _noise_levels(census: Census) -> int:
    """How many values are hardly ever inside a shape."""
    total, solid = census.counts.sum(0), census.solid.sum(0)
    noisy = (solid <= SOLID_SHARE * total) & (census.levels > 0) & (census.levels < 255)
    return int(noisy.sum())


def _slips(census: Census) -> np.ndarray:
    """bool [levels]: values of a few pixels in the whole set, none of them inside a shape."""
    return (census.counts.sum(0) <= SLIP) & (census.solid.sum(0) == 0) & (census.levels > 0)


def _classes_of(census: Census, keep: np.ndarray) -> tuple[list[int], list[int]]:
    """The values that stand for classes, and those taken for slips.

    A rare class of the next index is a class, however small; a value far from the others is not.
    """
    slips = _slips(census) & keep
    values = census.levels[keep & ~slips].tolist()
    if len(values) < 2:  # all is tiny: take it at its word
        slips, values = np.zeros_like(slips), census.levels[keep].tolist()
    odd = []
    for value in census.levels[slips].tolist():
        whole = sorted([*values, value])
        if whole == list(range(len(whole))):
            values = whole
        else:
            odd.append(value)
    if 0 in census.ignored:
        values.insert(0, 0)  # the background is a class, of which no pixel counts
    return values, odd


def _refuse_unlikely(census: Census, values: list[int], keep: np.ndarray) -> None:
    """`UserError` for values that are hardly classes."""
    if _noise_levels(census) >= max(NOISE_LEVELS, len(values) // 2) or len(values) > 254:
        worst = int((census.counts > 0).sum(1).argmax())
        raise _unclear(census, worst)
    if values[0] != 0:
        raise UserError(
            f"{census.planes[0].path}: holds the values {census.text(0)}, and no mask holds 0;"
            " which value is the background? --class-map VALUE=CLASS ... says it, --classes N takes"
            " them as class indices"
        )
    there = census.counts[:, keep & (census.levels > 0)] > 0
    alone = (there.sum(1) <= 1).all()  # no file shows two classes
    if alone and not census.indexed and values != list(range(len(values))):
        kinds = [there[:, column] for column in range(there.shape[1])]
        raise _mixed(census, kinds[0], kinds[-1])
    most = there.sum(1)
    numbered = (np.diff(there.astype(int), axis=1) <= 0).all() and there[most > 0, 0].all()
    if numbered and most.max() >= MANY and len(set(most[most > 0].tolist())) > 2:
        row = int(most.argmax())
        raise UserError(
            f"{census.planes[row].path}: holds the values 0 to {most.max()}, and every mask numbers"
            " its values from 1: numbered objects or classes? --mask-kind binary takes all of them"
            " as foreground, --mask-kind index as classes"
        )


def _refuse_beyond(census: Census, keep: np.ndarray, classes: int) -> None:
    """`UserError` for the first mask with a class index of `classes` or more."""
    beyond = keep & (census.levels >= classes)
    if beyond.any():
        rows = census.area(beyond) > 0
        row = int(rows.argmax())
        value = int(census.levels[beyond & (census.counts[row] > 0)][0])
        raise UserError(
            f"{census.planes[row].path}: holds the class index {value}, expected 0 to"
            f" {classes - 1} for {classes} classes (255 is ignored); correct the mask or --classes,"
            f" or --ignore-index {value}"
        )


def _no_foreground(census: Census) -> UserError:
    return UserError(
        f"no foreground in {len(census.planes)} masks: every one is empty; check that the masks"
        " belong to the images and how they are coded (0 background, 255 or 1 foreground)"
    )


def _mixed(census: Census, one: np.ndarray, other: np.ndarray) -> UserError:
    """Two codings in one set."""
    first, second = int(one.argmax()), int(other.argmax())
    values = census.levels.tolist()[:6]
    example = " ".join(f"{value}={min(at, 1)}" for at, value in enumerate(values))
    return UserError(
        f"{census.planes[first].path} holds {census.text(first)}, {census.planes[second].path}"
        f" holds {census.text(second)}: {one.sum()} masks like the first and {other.sum()} like"
        " the second are two codings in one set; convert them to one (medseg data check --fix), or"
        f" say what each value is: --class-map {example}"
    )


def _unclear(census: Census, row: int) -> UserError:
    top = int(census.levels[-1])
    if top != 255:
        return UserError(
            f"{census.planes[row].path}: holds the values {census.text(row)}; expected 0 and 255, 0"
            f" and 1, or class indices 0, 1, 2, ...; where {top} marks pixels that do not count,"
            f" give --ignore-index {top}; else --class-map VALUE=CLASS ... says what each is"
        )
    return UserError(
        f"{census.planes[row].path}: holds the values {census.text(row)}; is 255 foreground and the"
        " rest noise (--mask-kind binary-255), are they class indices with 255 ignored (--mask-kind"
        " index), or something else (--class-map VALUE=CLASS ...)?"
    )

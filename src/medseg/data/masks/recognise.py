"""The meaning of a set's mask values, from how much each covers and in how many files.

Which values occur is not enough: 0, 11, 12 and 255 are a 0/255 mask with residue of a codec, or
classes with an ignored border. What is drawn has area, in most files; noise has none, or comes in
many values. Where neither is clear, the set is refused, and the user says what it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.data.masks.census import BRIGHT, NOISE_LEVELS, NOISE_SHARE, SLIP, Census, listed
from medseg.data.masks.coding import IGNORED, THRESHOLD, MaskCoding
from medseg.data.masks.colours import INDEX_RANGE
from medseg.data.masks.doubts import (
    RARE,
    mixed,
    no_foreground,
    numbering_note,
    refuse_areas_in_contours,
    refuse_beyond,
    refuse_rare,
    refuse_thin_classes,
    refuse_unlikely,
    unclear,
)
from medseg.errors import UserError, counted

MIDDLE = (64, 192)  # a 0/255 mask holds values from 64 to 191 at its edges only,
MIDDLE_SHARE = 0.05  # in at most this share of its pixels


def recognise(census: Census) -> MaskCoding:
    """The coding of a set that nobody declared. Raises `UserError` where it is not clear."""
    levels = set(census.levels.tolist())
    if levels <= {0}:
        raise no_foreground(census)
    if len(levels) == 1:
        value = levels.pop()
        raise UserError(
            f"{census.planes[0].path}: every mask holds {value} in every pixel; expected"
            " background and foreground (0 and 255, 0 and 1, or class indices)"
        )
    if any(plane.lossy for plane in census.planes):
        return _lossy(census)
    if len(levels) == 2:
        return two_values(census)
    if census.levels[-1] > 255:
        raise unclear(census, int(census.counts[:, -1].argmax()))
    if 0 in census.ignored:
        return indices(census, void=255 in levels)
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
    refuse_areas_in_contours(census)
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
    if census.levels[-1] > 255:
        raise unclear(census, int(census.counts[:, -1].argmax()))
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
        refuse_beyond(census, keep, classes)
        values, slips = list(range(classes)), []
    else:
        values, slips = _classes_of(census, keep, told=told)
        if not told:
            refuse_unlikely(census, values, keep)
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
        pixels = counted(int(row.sum()), "pixel", "pixels")
        text += (
            f"; the value {value} in {pixels} of {census.file(row > 0).name} is taken for a slip"
            " and ignored"
        )
    text += void_note(census, void) + ("" if told or classes else numbering_note(census))
    return MaskCoding("index", len(values), text, tuple(table))


def void_note(census: Census, void: bool) -> str:
    """A note on pixels of 255 where these are ignored."""
    touched = int((census.area(census.levels == 255) > 0).sum()) if void else 0
    return f"; 255 is ignored ({touched} files)" if touched else ""


def zero_one(census: Census) -> MaskCoding:
    """0/1; 255, where it occurs, is ignored. `UserError` for other values."""
    refuse_beyond(census, census.levels != 255, 2)
    void = 255 in census.levels
    text = f"masks: 0/1 in {len(census.planes)} files{void_note(census, void)}"
    return MaskCoding("binary-01", 2, text, ((0, 0), (1, 1), *(((255, IGNORED),) * void)))


def _beside_255(census: Census) -> MaskCoding:
    """Values among which some are from 192 on: 0/255 with noise, or classes beside ignored 255."""
    low = census.within(1, BRIGHT)
    noise = census.noise_levels()
    refuse_thin_classes(census, low)
    if noise >= NOISE_LEVELS:
        return noisy_binary(census)
    drawn = (census.area(census.levels > 0) > 0).sum()
    real = census.inside(low & ~census.slips()) > 0  # files that show an inside of such a value
    white = census.inside(census.within(BRIGHT, 256)) > 0
    small = census.area(low)
    if not real.any():
        bright = census.area(census.within(BRIGHT, 256))
        few = small <= np.maximum(SLIP, NOISE_SHARE * bright)
        lines = census.apart(low) > RARE * bright.sum()
        if (few.all() or noise) and not lines:
            return noisy_binary(census)
        raise unclear(census, int(small.argmax()))
    only_white = white & ~(small > 0)
    without_white = real & ~(census.area(census.within(BRIGHT, 256)) > 0)
    if only_white.any() and without_white.any():
        raise mixed(census, without_white, only_white)
    index_fails = 2 * real.sum() <= drawn or only_white.any()
    if index_fails and not without_white.any():
        return _with_residue(census, real)
    others = census.levels[low | (census.within(BRIGHT, 255))]
    if only_white.any() or 2 * real.sum() <= drawn or others[-1] > INDEX_RANGE:
        raise unclear(census, int(real.argmax()))
    inner = census.levels[low & ~census.slips()]
    gaps = inner.tolist() != list(range(1, len(inner) + 1))
    if gaps and census.inside(census.levels == 255).sum() > census.inside(low).sum():
        raise unclear(census, int(real.argmax()))
    if inner.tolist() == [1] and not census.slips().any():
        return zero_one(census)
    return indices(census, void=True)


def _with_residue(census: Census, real: np.ndarray) -> MaskCoding:
    """0/255 masks, of which a few files hold areas of small values beside larger ones of 255."""
    small = census.inside(census.within(1, BRIGHT))
    unlike = real & (small > NOISE_SHARE * census.inside(census.within(BRIGHT, 256)))
    if unlike.any():
        raise unclear(census, int(unlike.argmax()))
    coding = noisy_binary(census)
    note = (
        f"; areas below it in {real.sum()} files, such as {census.file(real).name}, are background"
    )
    return replace(coding, text=coding.text + note)


def _classes_of(census: Census, keep: np.ndarray, *, told: bool) -> tuple[list[int], list[int]]:
    """The values that stand for classes, and those taken for slips.

    A rare class of the next index is a class, however small; a value far from the others is not.
    """
    slips = census.slips() & keep & ~np.bool_(told or census.indexed)
    values = census.levels[keep & ~slips].tolist()
    if len(values) < 2:  # all is tiny: take it at its word
        slips, values = np.zeros_like(slips), census.levels[keep].tolist()
    odd = []
    for value in census.levels[slips].tolist():
        whole = sorted([*values, value])
        if whole == list(range(len(whole))):
            values = whole
        else:
            refuse_rare(census, value, keep)
            odd.append(value)
    return values, odd

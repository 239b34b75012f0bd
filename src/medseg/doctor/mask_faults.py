"""Faults of masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.data.masks import MIDDLE, MIDDLE_SHARE, THRESHOLD
from medseg.doctor.context import Context, looks_inverted
from medseg.doctor.finding import OfSet, Texts
from medseg.doctor.look import Look, Shape

# isolated pixels per changing pair: real masks reach 0.04, dithered soft edges start at 0.09
DITHERED_SHARE = 0.06
DITHERED_PIXELS = 16
CODINGS = {"binary-255": "0/255", "binary-01": "0/1", "index": "class indices"}


def mask_values(seen: Look, context: Context) -> Texts:
    """Values that do not fit the coding of the set."""
    if seen.mask_values_error:
        yield seen.pair.mask, seen.mask_values_error
    elif seen.shape and (text := _values(seen, seen.shape, context)):
        yield seen.pair.mask, text


def _values(seen: Look, shape: Shape, context: Context) -> str:
    held = f"holds {list_values(shape.counts)}, where the set holds {CODINGS[context.kind]}"
    if context.kind == "binary-255":
        if shape.kind != "binary-255":
            return (
                f"{held}: all of it is below the threshold {THRESHOLD} and would count as"
                " background"
            )
        if not fits_threshold(shape):
            return held
        between = int(shape.counts[1:255].sum())
        if between and not _ringing(seen, shape):
            return (
                f"{_percent(between, shape)} of pixels hold values between 0 and 255"
                f" ({list_values(shape.counts)}); they are split at {THRESHOLD}"
            )
        return ""
    beyond = 2 if context.kind == "binary-01" else context.classes or 255
    if shape.counts[beyond:255].any() or (shape.kind == "binary-255" and shape.counts[1:255].any()):
        return held + (f" below {beyond}" if context.kind == "index" and context.classes else "")
    if shape.kind == "binary-255" and shape.counts[255] and not context.ignores:
        return f"{held}: 255 would be ignored"
    return ""


def fits_threshold(shape: Shape) -> bool:
    """Whether a threshold divides the values of a 0/255 mask.

    Few of all pixels, and of those above 0, lie in the middle.
    """
    middle = shape.counts[MIDDLE].sum()
    return bool(
        middle <= MIDDLE_SHARE * shape.counts.sum() and 2 * middle <= shape.counts[1:].sum()
    )


def ringing(seen: Look, context: Context) -> Texts:
    """Values near 0 and 255, as a lossy codec leaves them."""
    shape = seen.shape
    if (
        shape
        and context.kind == shape.kind == "binary-255"
        and shape.counts[1:255].any()
        and fits_threshold(shape)
        and _ringing(seen, shape)
    ):
        yield (
            seen.pair.mask,
            (
                f"{_percent(int(shape.counts[1:255].sum()), shape)} of pixels hold"
                f" {np.count_nonzero(shape.counts[1:255])} values between 0 and 255, as a lossy"
                " codec leaves them"
            ),
        )


def _ringing(seen: Look, shape: Shape) -> bool:
    return shape.ringing or bool(seen.mask_head and seen.mask_head.lossy)


def dithered(seen: Look, context: Context) -> Texts:
    """Grey values drawn as dots."""
    if seen.shape and _dithered(seen.shape):
        yield (
            seen.pair.mask,
            (
                f"{seen.shape.isolated} pixels differ from all their neighbours: grey values drawn"
                " as dots"
            ),
        )


def _dithered(shape: Shape) -> bool:
    return shape.isolated >= DITHERED_PIXELS and shape.isolated > DITHERED_SHARE * shape.changes


def inverted(looks: Sequence[Look], context: Context) -> OfSet:
    """Object and background exchanged, in single masks or in the whole set."""
    found = [seen for seen in looks if seen.shape and looks_inverted(seen.shape)]
    if context.inverted:
        masks = sum(seen.shape is not None for seen in looks)
        yield (
            None,
            found[0].pair.mask.parent,
            (
                f"foreground lies along most of the image's edge in {len(found)} of {masks} masks: "
                "are object and background exchanged?"
            ),
        )
        return
    for seen in found:
        yield (
            seen,
            seen.pair.mask,
            (
                f"foreground lies along {seen.shape.border:.0%} of the image's edge and fills"
                f" {_percent(seen.shape.foreground, seen.shape)}: object and background seem"
                " exchanged"
            ),
        )


def empty(seen: Look, context: Context) -> Texts:
    """A mask without foreground."""
    if (
        seen.shape
        and not seen.shape.foreground
        and (seen.shape.kind != "binary-255" or fits_threshold(seen.shape))
    ):
        yield seen.pair.mask, "no foreground: correct only if the image shows no object"


def full(seen: Look, context: Context) -> Texts:
    """A mask that is foreground everywhere."""
    if seen.shape and seen.shape.foreground == seen.shape.counts.sum():
        yield seen.pair.mask, "foreground everywhere"


def tiny(seen: Look, context: Context) -> Texts:
    """Islands or holes of a few pixels."""
    if seen.shape and seen.shape.specks and not _dithered(seen.shape):
        what = "island or hole" if seen.shape.specks == 1 else "islands or holes"
        yield seen.pair.mask, f"{seen.shape.specks} {what} of a few pixels"


def list_values(counts: np.ndarray) -> str:
    """The values that a histogram of 256 bins holds, the first few of many."""
    found = np.flatnonzero(counts).tolist()
    more = f", ... {found[-1]} ({len(found)} values)" if len(found) > 6 else ""
    return ", ".join(map(str, found[:6])) + more


def _percent(count: int, shape: Shape) -> str:
    return f"{100 * count / shape.counts.sum():.2g} %"

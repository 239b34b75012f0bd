"""The faults by code. Codes are stable: one is never given to another fault; docs/data-check.md has
a section for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.decode import read_mask
from medseg.data.masks import MIDDLE, MIDDLE_SHARE, THRESHOLD
from medseg.doctor.context import Context, looks_inverted
from medseg.doctor.look import Look, Shape, foreground_of

DITHERED_SHARE = (
    0.06  # isolated pixels a changing pair: real masks reach .04, dithered soft edges start at .09
)
DITHERED_PIXELS = 16
DARK = 30  # of 255; 99 % of the pixels of a nearly black image are below it
ASPECT = 3.0  # longer side to shorter
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".gif": "GIF",
}
CODINGS = {"binary-255": "0/255", "binary-01": "0/1", "index": "class indices"}


@dataclass(frozen=True)
class Finding:
    """One fault of one file; `part` and `name` are empty where it is one of the whole set."""

    code: str
    part: str
    name: str
    file: str
    text: str


Told = Iterator[tuple[Path, str]]
Fault = Callable[[Sequence[Look], Context], Iterator[tuple[Look | None, Path, str]]]


def find(looks: Sequence[Look], context: Context, *, ignore: Sequence[str] = ()) -> list[Finding]:
    """Every finding, in the order of codes, then of files."""
    return [
        Finding(
            code, seen.pair.part if seen else "", seen.pair.name if seen else "", str(path), text
        )
        for code, (_, fault) in FAULTS.items()
        if code not in ignore
        for seen, path, text in fault(looks, context)
    ]


def each(fault: Callable[[Look, Context], Told]) -> Fault:
    """A fault of single pairs as one of the set."""
    return lambda looks, context: (
        (seen, path, text) for seen in looks for path, text in fault(seen, context)
    )


def unreadable(seen: Look, context: Context) -> Told:
    if seen.image_error:
        yield seen.pair.image, seen.image_error
    if seen.mask_error:
        yield seen.pair.mask, seen.mask_error


def unpaired(seen: Look, context: Context) -> Told:
    if seen.pair.problem:
        yield seen.pair.image or seen.pair.mask or Path(seen.pair.name), seen.pair.problem


def size_mismatch(seen: Look, context: Context) -> Told:
    if (
        seen.image_size
        and seen.mask_size
        and seen.image_size != seen.mask_size
        and mask_turn(seen) == 1
    ):
        yield (
            seen.pair.mask,
            f"is {_size(seen.mask_size)} pixels, its image {_size(seen.image_size)}",
        )


def rotated(seen: Look, context: Context) -> Told:
    for path, head, what in (
        (seen.pair.image, seen.image_head, "image"),
        (seen.pair.mask, seen.mask_head, "mask"),
    ):
        if head and head.orientation != 1:
            told = ""
            if (
                what == "image"
                and seen.image_size
                and seen.mask_size
                and seen.mask_head.orientation == 1
            ):
                told = (
                    "; its mask is that of the unturned image"
                    if mask_turn(seen) != 1
                    else (
                        "; sizes do not tell whether its mask is turned too"
                        if head.orientation < 5 or _square(seen)
                        else ""
                    )
                )
            yield (
                path,
                (
                    f"EXIF orientation {head.orientation}: programs disagree on whether this {what}"
                    f" is turned{told}"
                ),
            )


def mask_turn(seen: Look) -> int:
    """The EXIF orientation by which the mask must be turned to lie on its image, 1 for none: the
    mask's own where that fits, the image's where the mask fits the unturned image only.
    """
    if not (seen.image_head and seen.mask_head and seen.image_size and seen.mask_size):
        return 1
    own, other = seen.mask_head.orientation, seen.image_head.orientation
    if (
        seen.mask_head.kind == "TIFF"
    ):  # the one format that OpenCV turns even when asked for the bare values
        own = 1
    if own != 1 and (seen.mask_size[::-1] if own > 4 else seen.mask_size) == seen.image_size:
        return own
    return other if other > 4 and seen.mask_size == seen.image_size[::-1] != seen.image_size else 1


def mask_values(seen: Look, context: Context) -> Told:
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
    """Whether a threshold divides the values of a 0/255 mask: few of all pixels, and of those above
    0, lie in the middle.
    """
    middle = shape.counts[MIDDLE].sum()
    return bool(
        middle <= MIDDLE_SHARE * shape.counts.sum() and 2 * middle <= shape.counts[1:].sum()
    )


def ringing(seen: Look, context: Context) -> Told:
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


def dithered(seen: Look, context: Context) -> Told:
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


def inverted(looks: Sequence[Look], context: Context) -> Iterator[tuple[Look | None, Path, str]]:
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


def empty(seen: Look, context: Context) -> Told:
    if (
        seen.shape
        and not seen.shape.foreground
        and (seen.shape.kind != "binary-255" or fits_threshold(seen.shape))
    ):
        yield seen.pair.mask, "no foreground: right only where the image shows no object"


def full(seen: Look, context: Context) -> Told:
    if seen.shape and seen.shape.foreground == seen.shape.counts.sum():
        yield seen.pair.mask, "foreground everywhere"


def tiny(seen: Look, context: Context) -> Told:
    if seen.shape and seen.shape.specks and not _dithered(seen.shape):
        what = "island or hole" if seen.shape.specks == 1 else "islands or holes"
        yield seen.pair.mask, f"{seen.shape.specks} {what} of a few pixels"


def dark(seen: Look, context: Context) -> Told:
    if seen.colours and seen.colours.bright < DARK:
        yield (
            seen.pair.image,
            f"99 % of the pixels are no brighter than {seen.colours.bright} of 255",
        )


def duplicates(looks: Sequence[Look], context: Context) -> Iterator[tuple[Look | None, Path, str]]:
    for group in _same_pixels(looks):
        first: dict[str, Look] = {}
        for seen in group:
            same = first.setdefault(seen.pair.part, seen)
            if same is not seen:
                yield (
                    seen,
                    seen.pair.image,
                    f"the same pixels as {same.pair.image}{_masks(seen, same)}",
                )


def leaks(looks: Sequence[Look], context: Context) -> Iterator[tuple[Look | None, Path, str]]:
    for group in _same_pixels(looks):
        last = group[-1]
        for seen in group:
            if seen.pair.part != last.pair.part:
                yield (
                    seen,
                    seen.pair.image,
                    (
                        f"the same pixels as {last.pair.image}: in {seen.pair.part} and in "
                        f"{last.pair.part}{_masks(seen, last)}"
                    ),
                )


def _same_pixels(looks: Sequence[Look]) -> list[list[Look]]:
    """Groups of two or more looks whose images are equal, each in the order of the parts."""
    groups: dict[str, list[Look]] = {}
    for seen in looks:
        if seen.colours:
            groups.setdefault(seen.colours.digest, []).append(seen)
    return [group for group in groups.values() if len(group) > 1]


def _masks(one: Look, other: Look) -> str:
    """What to say of the masks of two equal images, where they differ."""
    if (
        not one.shape
        or not other.shape
        or one.shape.digest == other.shape.digest
        or one.mask_size != other.mask_size
    ):
        return ""
    first, second = (
        foreground_of(read_mask(seen.pair.mask), seen.shape.kind) for seen in (one, other)
    )
    total = int(first.sum()) + int(second.sum())
    dice = 2 * int((first & second).sum()) / total if total else 1.0
    return f"; their masks differ (Dice {dice:.3f})" if dice < 1 else ""


def aspect(seen: Look, context: Context) -> Told:
    if seen.image_size and max(seen.image_size) > ASPECT * min(seen.image_size):
        yield (
            seen.pair.image,
            (
                f"is {_size(seen.image_size)} pixels,"
                f" {max(seen.image_size) / min(seen.image_size):.1f} to 1"
            ),
        )


def channels(seen: Look, context: Context) -> Told:
    if seen.image_head and seen.image_head.channels not in (0, context.channels):
        names = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "four channels"}
        yield (
            seen.pair.image,
            (
                f"{names[seen.image_head.channels]}, where most images of the set are"
                f" {names[context.channels]}"
            ),
        )


def mislabelled(seen: Look, context: Context) -> Told:
    for path, head in ((seen.pair.image, seen.image_head), (seen.pair.mask, seen.mask_head)):
        if head and head.kind != SUFFIXES[path.suffix.lower()]:
            yield path, f"is a {head.kind} file"


def list_values(counts: np.ndarray) -> str:
    """The values that a histogram of 256 bins holds, the first few of many."""
    found = np.flatnonzero(counts).tolist()
    return ", ".join(map(str, found[:6])) + (
        f", ... {found[-1]} ({len(found)} values)" if len(found) > 6 else ""
    )


def _percent(count: int, shape: Shape) -> str:
    return f"{100 * count / shape.counts.sum():.2g} %"


def _square(seen: Look) -> bool:
    return seen.image_size[0] == seen.image_size[1]


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


FAULTS: dict[str, tuple[str, Fault]] = {
    "MS001": ("unreadable file", each(unreadable)),
    "MS002": ("unpaired file", each(unpaired)),
    "MS003": ("size mismatch", each(size_mismatch)),
    "MS004": ("EXIF rotation", each(rotated)),
    "MS005": ("mask values not as declared", each(mask_values)),
    "MS006": ("JPEG ringing in mask", each(ringing)),
    "MS007": ("dithered mask", each(dithered)),
    "MS008": ("inverted mask", inverted),
    "MS009": ("empty mask", each(empty)),
    "MS010": ("full mask", each(full)),
    "MS011": ("tiny specks in mask", each(tiny)),
    "MS012": ("image nearly black", each(dark)),
    "MS013": ("duplicate image", duplicates),
    "MS014": ("duplicate across parts (leak)", leaks),
    "MS015": ("extreme aspect ratio", each(aspect)),
    "MS016": ("mixed channel counts", each(channels)),
    "MS017": ("mislabelled file type", each(mislabelled)),
}

"""One look at one pair: each file is read and decoded once, and what the faults ask about is kept
as a few numbers.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from medseg.data.decode import DecodeError, MaskValueError, read_image, read_mask
from medseg.data.masks import THRESHOLD, recognise
from medseg.doctor.collect import Pair

SPECK_PIXELS = 10  # an island or a hole with fewer pixels is a speck,
SPECK_SHARE = 2e-5  # as is one below this share of the mask, whichever is more
_CROSS = np.array(
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.uint8
)  # the four neighbours, without the pixel itself
_SIGNATURES = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"RIFF": "WebP",
}
_CHANNELS = {
    "1": 1,
    "L": 1,
    "I": 1,
    "F": 1,
    "I;16": 1,
    "I;16B": 1,
    "I;16L": 1,
    "LA": 2,
    "RGBA": 4,
    "CMYK": 4,
    "PA": 4,
}


@dataclass(frozen=True)
class Head:
    """What the first bytes of a file say: its real format, channels (0 unknown), EXIF orientation
    (1 upright).
    """

    kind: str
    lossy: bool
    channels: int
    orientation: int


@dataclass(frozen=True)
class Colours:
    """An image: digest of its pixels, brightness that 99 % of them do not exceed, sums over pixels
    of values 0 to 1 and of their squares, by channel.
    """

    digest: str
    bright: float
    sums: tuple[float, ...]
    squares: tuple[float, ...]


@dataclass(frozen=True)
class Shape:
    """A mask: digest and counts of its values, how they are coded, and what its foreground looks
    like.

    `border` is the share of foreground along the image's edge; `isolated` counts pixels that differ
    from all four neighbours, `changes` neighbouring pairs that differ; `specks` islands and holes
    below the speck size. `ringing` says whether values between 0 and 255 lie on both sides away
    from any edge.
    """

    digest: str
    counts: np.ndarray
    kind: str
    foreground: int
    border: float
    isolated: int
    changes: int
    specks: int
    ringing: bool

    @property
    def ambiguous(self) -> bool:
        """Small values beside 255: class indices with ignored pixels, or 0/255 with noise; the rest
        of the set must tell.
        """
        return self.kind != "binary-255" and bool(self.counts[255])


@dataclass(frozen=True)
class Look:
    """A pair and what was seen of it; sizes are (height, width); None where a file is missing or
    cannot be read.
    """

    pair: Pair
    image_error: str = ""
    mask_error: str = ""
    mask_values_error: str = ""
    image_head: Head | None = None
    mask_head: Head | None = None
    image_size: tuple[int, int] | None = None
    mask_size: tuple[int, int] | None = None
    colours: Colours | None = None
    shape: Shape | None = None


def look(pair: Pair, *, bit_depth: int = 16) -> Look:
    """Read what there is of a pair; the error of a bad file is in the result."""
    seen = Look(pair)
    if pair.image:
        try:
            pixels = read_image(pair.image, bit_depth=bit_depth).pixels
            seen = replace(
                seen,
                image_head=head(pair.image),
                image_size=pixels.shape[:2],
                colours=_colours(pixels),
            )
        except DecodeError as error:
            seen = replace(seen, image_error=_without_path(error, pair.image))
    if pair.mask:
        try:
            values, about = read_mask(pair.mask), head(pair.mask)
            seen = replace(
                seen,
                mask_head=about,
                mask_size=values.shape,
                shape=measure(values, lossy=about.lossy),
            )
        except MaskValueError as error:
            seen = replace(
                seen, mask_head=head(pair.mask), mask_values_error=_without_path(error, pair.mask)
            )
        except DecodeError as error:
            seen = replace(seen, mask_error=_without_path(error, pair.mask))
    return seen


def head(path: Path) -> Head:
    """The facts about a file that lie before its pixels."""
    from PIL import Image

    data = path.read_bytes()
    kind = next((name for start, name in _SIGNATURES.items() if data.startswith(start)), "unknown")
    lossy = kind == "JPEG" or (kind == "WebP" and b"VP8 " in data[:64])
    try:
        with Image.open(io.BytesIO(data)) as picture:
            exif = (
                picture.getexif() if kind != "PNG" or b"eXIf" in data else {}
            )  # of a PNG it costs decoding it
            return Head(kind, lossy, _CHANNELS.get(picture.mode, 3), int(exif.get(0x0112, 1)))
    except (
        Exception
    ):  # Pillow's readers raise many kinds; what they cannot open, OpenCV and tifffile may
        return Head(kind, lossy, 0, 1)


def foreground_of(values: np.ndarray, kind: str) -> np.ndarray:
    """uint8 [H, W], 1 where a mask coded as `kind` is not background; 255 is ignored in all but
    0/255 masks.
    """
    if kind == "binary-255":
        return (values > THRESHOLD).view(np.uint8)
    return ((values > 0) & (values < 255)).view(np.uint8)


def isolated(binary: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels of a 0/1 mask that differ from each of their four neighbours."""
    most = cv2.dilate(binary, _CROSS)
    least = cv2.erode(binary, _CROSS)
    return (most == least) & (most != binary)


def small_parts(side: np.ndarray, connectivity: int) -> np.ndarray:
    """bool [H, W]: connected parts of the ones in uint8 [H, W] that are too small to be meant."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        side, connectivity=connectivity, ltype=cv2.CV_32S
    )
    small = stats[:, cv2.CC_STAT_AREA] < max(SPECK_PIXELS, SPECK_SHARE * side.size)
    small[0] = False  # label 0 is the other side
    return small[labels]


def specks(binary: np.ndarray) -> int:
    """Number of islands (8-connected) and holes (4-connected) of a 0/1 mask that are too small to
    be meant.
    """
    small = small_parts(binary, 8) | small_parts(1 - binary, 4)
    return cv2.connectedComponents(small.view(np.uint8), connectivity=8)[0] - 1


def settle(seen: Look, kind: str) -> Look:
    """The look with its mask measured again where it might be class indices, and is 0/255 with
    noise as all of its set.
    """
    if kind != "binary-255" or not seen.shape or not seen.shape.ambiguous:
        return seen
    return replace(seen, shape=measure(read_mask(seen.pair.mask), lossy=True))


def measure(values: np.ndarray, *, lossy: bool = False) -> Shape:
    """The `Shape` of a mask's values, uint8 [H, W]; small values in a `lossy` mask are noise and no
    class indices.
    """
    counts = np.bincount(values.ravel(), minlength=256)
    kind = "binary-255" if lossy else recognise(counts > 0)
    binary = foreground_of(values, kind)
    ring = np.concatenate([binary[0], binary[-1], binary[:, 0], binary[:, -1]])
    changes = np.count_nonzero(binary[1:] != binary[:-1]) + np.count_nonzero(
        binary[:, 1:] != binary[:, :-1]
    )
    return Shape(
        _digest(values),
        counts,
        kind,
        int(np.count_nonzero(binary)),
        float(ring.mean()),
        int(np.count_nonzero(isolated(binary))),
        int(changes),
        specks(binary) if changes else 0,
        kind == "binary-255" and _ringing(values, counts),
    )


def _ringing(values: np.ndarray, counts: np.ndarray) -> bool:
    """What a lossy codec leaves: values between 0 and 255 more than two pixels from any edge on
    both of its sides, with clean pixels between them and the edge. A soft edge falls off without
    such gaps.
    """
    if not counts[1:255].any():
        return False
    binary = foreground_of(values, "binary-255")
    square = np.ones((5, 5), np.uint8)
    inside, near = cv2.erode(binary, square) > 0, cv2.dilate(binary, square)
    if not ((values[inside] < 255).any() and (values[near == 0] > 0).any()):
        return False
    return bool((values[(near > 0) & (binary == 0)] == 0).mean() > 0.1)


def _colours(pixels: np.ndarray) -> Colours:
    mean, deviation = cv2.meanStdDev(pixels)
    mean, deviation = mean.ravel() / 255, deviation.ravel() / 255
    count = pixels.shape[0] * pixels.shape[1]
    histogram = cv2.calcHist(
        [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)], [0], None, [256], [0, 256]
    ).ravel()
    bright = int(np.searchsorted(histogram.cumsum(), 0.99 * count))
    return Colours(
        _digest(pixels),
        bright,
        tuple(map(float, count * mean)),
        tuple(map(float, count * (mean**2 + deviation**2))),
    )


def _digest(pixels: np.ndarray) -> str:
    total = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    total.update(np.ascontiguousarray(pixels).data)
    return total.hexdigest()


def _without_path(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")

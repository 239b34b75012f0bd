"""The colours of a mask: which are drawn, and which class each pixel's stands for."""

from __future__ import annotations

import cv2
import numpy as np

from medseg.data.decode import MaskValueError
from medseg.data.masks.histogram import count_levels, solid_of

NEAR_COLOUR = 48  # how far a lossy codec moves a colour, in its worst channel, inside a shape
FAR_COLOUR = 128  # how far it may move a single pixel's
TINT, LOSSY_TINT = 8, 32  # how far channels differ within one colour inside a shape
FLAT = 20  # and how far they do within the few pixels around one
HUE = 0.2  # how far the channels, relative to the highest, may differ within one hue
LIGHT = 64  # how far it moves the lightness of a thin shape
GREY = 0.15  # the chroma, relative to the highest channel, below which a colour is a grey
INDEX_RANGE = 63  # up to here a value may well be a class index: there, no channel may differ
FEW = 4  # pixels of another colour than the others that are taken for a slip
CLEAN = 8  # colours in a file without noise and soft edges
RARE = 0.02  # of what is drawn, that a slip does not reach
NEXT = np.ones((3, 3), np.uint8)
SMEARED = np.ones((9, 9), np.uint8)  # how far a lossy codec carries colour over an edge
Colour = tuple[int, int, int]


def pack(pixels: np.ndarray) -> np.ndarray:
    """int32 [H, W]: one number for each colour of uint8 [H, W, 3]."""
    wide = pixels.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def unpack(packed: int) -> Colour:
    """The colour of a number of `pack`."""
    return int(packed) >> 16, int(packed) >> 8 & 255, int(packed) & 255


def rgb_text(colour: Colour) -> str:
    """A colour for a message."""
    return "({}, {}, {})".format(*colour)


def is_coloured(pixels: np.ndarray, *, lossy: bool) -> bool:
    """Whether the channels of [H, W, 3] differ by more than noise, relative to their values.

    Inside shapes there is next to no noise: a pale colour beside white is a colour.
    """
    low, high = pixels.min(axis=2), pixels.max(axis=2)
    top = int(high.max(initial=0))
    noise = NEAR_COLOUR * top // 255 if top > INDEX_RANGE else 0
    spread = high - low
    if int(spread.max(initial=0)) > noise:
        return True
    if lossy:
        tinted = spread > LOSSY_TINT
        return bool(tinted.any()) and int((tinted & _flat(pixels)).sum()) > FEW
    tinted = (spread > TINT) | (2 * spread.astype(np.int32) > high)
    if not tinted.any():
        return False
    packed = pack(pixels)
    levels, counts = count_levels(packed)
    drawn = _is_drawn(packed, levels, counts)
    return bool(np.isin(np.unique(packed[tinted]), levels[drawn]).any())


def _is_drawn(packed: np.ndarray, levels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """bool [levels]: the colours of a lossless file that have an inside.

    Of a file of few colours each is drawn that has more than a few pixels or much of the drawing.
    """
    if len(levels) > CLEAN:
        return solid_of(packed, levels) > 0
    share = 1 / max(1, int(counts[levels > 0].sum()))
    return (counts > FEW) | (counts * share > RARE)


def lightness(colour: Colour) -> float:
    """The luma of a colour, 0 to 255."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def hue_of(colour: Colour) -> np.ndarray:
    """float [3]: the channels relative to the highest one."""
    return np.asarray(colour, float) / max(1, *colour)


def same_hue(one: Colour, other: Colour, noise: int = 255) -> bool:
    """Whether two colours, of which each channel has some noise, are one at two brightnesses."""
    apart = float(np.abs(hue_of(one) - hue_of(other)).max())
    return apart <= HUE and apart * min(max(one), max(other)) <= noise


def hues_of(pixels: np.ndarray, coloured: bool, lossy: bool) -> tuple[Colour, ...]:
    """One colour for each hue that is drawn, the most frequent first; none on an empty mask.

    In a lossy file they are those inside its shapes: at edges a codec mixes colours.
    """
    if not coloured:
        top = int(pixels.max(initial=0))
        return ((top,) * 3,) if top else ()
    if lossy:
        return _clusters(pixels[_flat(pixels)])
    packed = pack(pixels)
    levels, counts = count_levels(packed)
    solid = set(levels[_is_drawn(packed, levels, counts)].tolist())
    counts = counts * (levels > 0)
    hues: list[Colour] = []
    strays: list[tuple[Colour, int]] = []
    for at in np.argsort(-counts)[: np.count_nonzero(counts)]:
        colour, count = unpack(levels[at]), int(counts[at])
        inside = int(levels[at]) in solid
        if any(same_hue(colour, known, TINT if inside else 255) for known in hues):
            continue
        if inside or not hues:
            hues.append(colour)
        else:
            strays.append((colour, count))
        if len(hues) > 32:
            break
    for colour, count in strays:  # thin shapes have no inside
        if count > FEW and max(colour) > INDEX_RANGE and _far_from(colour, hues):
            hues.append(colour)
    return tuple(hues)


def _far_from(colour: Colour, hues: list[Colour]) -> bool:
    """Whether a colour without an inside is more than the mixture of two others, as at an edge."""
    if any(same_hue(colour, known) for known in hues):
        return False
    wanted = np.asarray(colour, float)
    for i, one in enumerate(hues):
        for other in hues[i + 1 :]:
            start, way = np.asarray(one, float), np.subtract(other, one).astype(float)
            share = np.clip((wanted - start) @ way / max(1.0, way @ way), 0, 1)
            if np.abs(start + share * way - wanted).max() <= NEAR_COLOUR / 2:
                return False
    return True


def faint_of(pixels: np.ndarray, coloured: bool) -> tuple[Colour, ...]:
    """The colour of the shapes of a lossy file that are too thin to have an inside, at most one."""
    if not coloured:
        return ()
    known = cv2.dilate(_flat(pixels).astype(np.uint8), SMEARED)
    peak = pixels.max(axis=2)
    thin = pixels[(peak > peak.max() // 2) & (cv2.dilate(known, SMEARED) == 0)]
    return (tuple(map(int, np.median(thin, axis=0))),) if len(thin) > FEW else ()


def same_tint(one: Colour, other: Colour) -> bool:
    """Whether two colours may be one that a codec has smeared: their chroma points one way.

    Their lightness is nearly that of the shape.
    """
    if abs(lightness(one) - lightness(other)) > LIGHT:
        return False
    first, second = (hue - hue.mean() for hue in (hue_of(one), hue_of(other)))
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if min(lengths) < GREY:
        return max(lengths) < GREY
    return float(first @ second) > 0.8 * lengths[0] * lengths[1]


def _flat(pixels: np.ndarray) -> np.ndarray:
    """bool [H, W]: bright pixels with none of another colour close by."""
    peak = pixels.max(axis=2)
    wide = np.ones((5, 5), np.uint8)
    spread = (cv2.dilate(pixels, wide).astype(np.int16) - cv2.erode(pixels, wide)).max(axis=2)
    return (peak > peak.max() // 2) & (spread <= FLAT)


def _clusters(flat: np.ndarray) -> tuple[Colour, ...]:
    """The median of the colours [N, 3], and that of those which are not near it, and so on."""
    hues: list[Colour] = []
    while len(flat) > FEW and len(hues) < 8:
        common = np.median(flat, axis=0)
        near = np.abs(flat - common).max(axis=1) <= FLAT
        if not near.any():  # the middle between two colours: take the first pixel's
            common = flat[0]
            near = np.abs(flat - common.astype(float)).max(axis=1) <= FLAT
        hues.append(tuple(map(int, common)))
        flat = flat[~near]
    return tuple(hues)


def positions(
    pixels: np.ndarray, colours: tuple[Colour, ...], name: str, *, lossy: bool
) -> np.ndarray:
    """uint8 [H, W]: the position of each pixel's colour in the list.

    Exact; in a lossy file the nearest, at edges of those colours that meet there, whose mixture may
    be a third. Raises `MaskValueError` for a colour that is not in the list.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    known = np.asarray(colours, np.int32)
    packed, back = np.unique(pack(pixels), return_inverse=True)
    found = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.int32)
    distance = np.abs(found[:, None] - known[None]).max(axis=2)
    back = back.reshape(pixels.shape[:2])
    nearest = distance.argmin(axis=1).astype(np.uint8)[back]
    wrong = distance.min(axis=1)[back] > (NEAR_COLOUR if lossy else 0)
    if lossy:
        nearest, wrong = _at_edges(distance, back, nearest, wrong)
    if wrong.any():
        at = found[back[wrong][0]]
        hint = "; a lossy format mixed it, save the masks as PNG" if lossy else ""
        raise MaskValueError(
            f"{name}: holds the colour {', '.join(map(str, at))}, which is none of those given by"
            f" --mask-colours{hint}"
        )
    return nearest


def _at_edges(
    distance: np.ndarray, back: np.ndarray, nearest: np.ndarray, wrong: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest colours, and where none is near, of a lossy file after a look at its edges.

    `distance` [colours found, colours given], `back` [H, W] a pixel's row in it.
    """
    sure = ~wrong & (cv2.dilate(nearest, NEXT) == cv2.erode(nearest, NEXT))
    sure &= cv2.dilate(wrong.astype(np.uint8), NEXT) == 0
    close = [
        cv2.dilate((sure & (nearest == at)).astype(np.uint8), SMEARED) > 0
        for at in range(distance.shape[1])
    ]
    meet = np.sum(close, axis=0) > 1
    edge = meet & ~sure
    rows = distance[back[edge]].astype(float)
    rows[~np.stack([each[edge] for each in close], axis=1)] = np.inf
    nearest[edge] = rows.argmin(axis=1)
    alone = wrong & ~meet
    whole = cv2.erode(alone.astype(np.uint8), NEXT) > 0
    return nearest, whole | (alone & (distance.min(axis=1)[back] > FAR_COLOUR))

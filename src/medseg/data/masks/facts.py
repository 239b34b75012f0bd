"""One mask file in numbers: all that recognising the coding of a set needs to know about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.data.decode import StoredMask, read_stored_mask
from medseg.data.masks.planes import (
    CHANNELS,
    NEAR_COLOUR,
    Colour,
    Layout,
    highest_of,
    pack,
    pixels_of,
    values_of,
)

INDEX_RANGE = 63  # up to here a value may well be a class index: there, no channel may differ
HUE = 0.2  # how far the channels, relative to the highest, may differ within one hue
FEW = 4  # pixels of another colour than the others that are taken for a slip


@dataclass(frozen=True)
class Histogram:
    """The `levels` that a plane holds, ascending, and how many pixels hold each.

    `solid` counts the pixels whose four neighbours hold the same level: what is drawn has an
    inside, while the noise of a codec and the soft edge of a shape do not. int64 [levels] each.
    """

    levels: np.ndarray
    counts: np.ndarray
    solid: np.ndarray

    @property
    def pixels(self) -> int:
        """The number of pixels of the plane."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class FileFacts:
    """A mask file in numbers; `planes` holds a histogram for each plane that it may be read by.

    `form` is "grey", "palette" or "colour". `used` is the colour of each palette index that occurs.
    `hues` are the colours drawn beside black. `channel` is the only one that is not 0 everywhere.
    `opaque` are the colours of pixels that are not transparent, where alpha varies. `edge` is the
    share of the outermost pixels above half of the range, `deepest` the highest sample as stored.
    """

    path: Path
    form: str
    lossy: bool
    planes: dict[str, Histogram]
    white_is_zero: bool = False
    bits: int = 8
    top: int = 255
    edge: float = 0.0
    used: dict[int, Colour] = field(default_factory=dict)
    hues: tuple[Colour, ...] = ()
    channel: str = ""
    opaque: tuple[Colour, ...] = ()
    has_alpha: bool = False
    deepest: int = 255


def look_at(path: Path, page: int = 0) -> FileFacts:
    """Read a mask file and measure it. Raises `DecodeError` for one that cannot be read."""
    stored = read_stored_mask(path, page=page)
    return measure(stored, path)


def measure(stored: StoredMask, path: Path) -> FileFacts:
    """The facts of a mask file that has been read."""
    name = str(path)
    pixels = pixels_of(stored, name)
    coloured = pixels.ndim == 3 and is_coloured(pixels)
    layouts = {"grey": Layout()}
    if stored.palette is not None:
        layouts["index"] = Layout("index")
    if coloured:
        layouts["peak"] = Layout("peak")
    if _varies(stored.alpha):
        layouts |= {"alpha": Layout("alpha"), "composite": Layout(composite=True)}
        if coloured:
            layouts["composite peak"] = Layout("peak", composite=True)
    planes = {
        plane: histogram_of(values_of(stored, layout, name)) for plane, layout in layouts.items()
    }
    channel = _only_channel(pixels) if coloured else ""
    if channel:
        planes[channel] = histogram_of(values_of(stored, Layout(channel), name))
    return FileFacts(
        path,
        _form(stored, coloured),
        stored.lossy,
        planes,
        stored.white_is_zero,
        stored.bits,
        highest_of(stored) if stored.white_is_zero else 255,
        _edge(pixels) if stored.white_is_zero else 0.0,
        _used(stored),
        _hues(_composited(pixels, stored), coloured, stored.lossy),
        channel,
        _opaque(pixels, stored.alpha),
        stored.alpha is not None,
        int(stored.samples.max(initial=0)),
    )


def histogram_of(values: np.ndarray) -> Histogram:
    """The histogram of a plane of integers [H, W]."""
    levels, counts = _count(values)
    if len(levels) <= 2 or min(values.shape) < 3:
        return Histogram(levels, counts, counts)
    inside = values[1:-1, 1:-1]
    same = (inside == values[:-2, 1:-1]) & (inside == values[2:, 1:-1])
    same &= (inside == values[1:-1, :-2]) & (inside == values[1:-1, 2:])
    solid = np.zeros_like(counts)
    at, found = _count(inside[same])
    solid[np.searchsorted(levels, at)] = found
    return Histogram(levels, counts, solid)


def is_coloured(pixels: np.ndarray) -> bool:
    """Whether the channels of [H, W, 3] differ by more than noise, relative to their values."""
    low, high = pixels.min(axis=2), pixels.max(axis=2)
    top = int(high.max(initial=0))
    noise = NEAR_COLOUR * top // 255 if top > INDEX_RANGE else 0
    return int((high - low).max(initial=0)) > noise


def hue_of(colour: Colour) -> np.ndarray:
    """float [3]: the channels relative to the highest one."""
    return np.asarray(colour, float) / max(1, *colour)


def same_hue(one: Colour, other: Colour, *, exact: bool = False) -> bool:
    """Whether two colours are one colour at two brightnesses; equally bright ones if `exact`."""
    if exact and max(one) == max(other):
        return one == other
    return bool(np.abs(hue_of(one) - hue_of(other)).max() <= HUE)


def _count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        levels = np.flatnonzero(counts)
        return levels, counts[levels]
    levels, counts = np.unique(values, return_counts=True)
    return levels.astype(np.int64), counts.astype(np.int64)


def _form(stored: StoredMask, coloured: bool) -> str:
    if stored.palette is not None:
        return "palette"
    return "colour" if coloured else "grey"


def _only_channel(pixels: np.ndarray) -> str:
    """The channel that alone is not 0; "" where several are."""
    there = [name for name, at in CHANNELS.items() if pixels[..., at].any()]
    return there[0] if len(there) == 1 else ""


def _composited(pixels: np.ndarray, stored: StoredMask) -> np.ndarray:
    """The pixels on black, where they are transparent."""
    if not _varies(stored.alpha):
        return pixels
    opaque = stored.alpha > stored.alpha.max() // 2
    return pixels * (opaque if pixels.ndim == 2 else opaque[..., None])


def _edge(pixels: np.ndarray) -> float:
    """The share of the outermost pixels that are above half of the highest."""
    outer = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return float((outer > int(pixels.max(initial=0)) // 2).mean()) if pixels.any() else 0.0


def _used(stored: StoredMask) -> dict[int, Colour]:
    if stored.palette is None:
        return {}
    return {int(i): tuple(map(int, stored.palette[i])) for i in np.unique(stored.samples)}


def _varies(alpha: np.ndarray | None) -> bool:
    return alpha is not None and bool((alpha != alpha.flat[0]).any())


def _opaque(pixels: np.ndarray, alpha: np.ndarray | None) -> tuple[Colour, ...]:
    """Up to three colours of the pixels that are not transparent, where alpha varies."""
    if not _varies(alpha):
        return ()
    shown = pixels[alpha > alpha.max() // 2]
    if shown.ndim == 1:
        return tuple((int(v),) * 3 for v in np.unique(shown)[:3])
    return tuple(map(_unpack, np.unique(pack(shown))[:3]))


def _unpack(packed: int) -> Colour:
    return int(packed) >> 16, int(packed) >> 8 & 255, int(packed) & 255


def _hues(pixels: np.ndarray, coloured: bool, lossy: bool) -> tuple[Colour, ...]:
    """One colour for each hue that is drawn, the most frequent first; none on an empty mask."""
    if not coloured:
        top = int(pixels.max(initial=0))
        return ((top,) * 3,) if top else ()
    drawn = pixels.max(axis=2) > (pixels.max() // 2 if lossy else 0)
    if lossy:
        return _lossy_hues(pixels[drawn])
    packed = pack(pixels)
    levels, counts = _count(packed[drawn])
    whole = histogram_of(packed)
    solid = set(whole.levels[whole.solid > 0].tolist())
    hues: list[Colour] = []
    strays: list[tuple[Colour, int]] = []
    for at in np.argsort(-counts):
        colour, count = _unpack(levels[at]), int(counts[at])
        inside = int(levels[at]) in solid
        if any(same_hue(colour, known, exact=inside) for known in hues):
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


def _lossy_hues(bright: np.ndarray) -> tuple[Colour, ...]:
    """The median colour of the bright pixels, and that of the others where it is not theirs."""
    hues: list[Colour] = []
    while len(bright) and len(hues) < 8:
        common = np.median(bright, axis=0)
        near = np.abs(bright - common).max(axis=1) <= NEAR_COLOUR
        if not near.any():  # the middle between two colours: take the first pixel's
            near = np.abs(bright - bright[0].astype(float)).max(axis=1) <= NEAR_COLOUR
            common = bright[0]
        rest = bright[~near]
        hues.append(tuple(map(int, common)))
        bright = rest if len(rest) > 0.05 * len(near) else rest[:0]
    return tuple(hues)

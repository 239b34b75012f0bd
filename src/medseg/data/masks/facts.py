"""One mask file in numbers: all that recognising the coding of a set needs to know about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.data.decode import StoredMask, read_stored_mask
from medseg.data.masks.colours import Colour, faint_of, hues_of, is_coloured, pack, unpack
from medseg.data.masks.histogram import Histogram, histogram_of
from medseg.data.masks.planes import CHANNELS, Layout, highest_of, pixels_of, values_of


@dataclass(frozen=True)
class FileFacts:
    """A mask file in numbers; `planes` holds a histogram for each plane that it may be read by.

    `form` is "grey", "palette" or "colour". `used` is the colour of each palette index that occurs.
    `hues` are the colours drawn beside black, `faint` that of thin shapes in a lossy file.
    `channel` is the only one that is not 0 everywhere. `opaque` are the colours of pixels that are
    not transparent, where alpha varies. `edge`, `alpha_edge` and `index_edge` are the shares of the
    outermost pixels that are above half of the range, that are opaque, and that hold each index.
    `deepest` is the highest sample as stored.
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
    faint: tuple[Colour, ...] = ()
    channel: str = ""
    opaque: tuple[Colour, ...] = ()
    has_alpha: bool = False
    deepest: int = 255
    alpha_edge: float = 0.0
    index_edge: dict[int, float] = field(default_factory=dict)

    @property
    def is_drawn(self) -> bool:
        """Whether anything is drawn beside black."""
        return bool(self.hues or self.faint)


def look_at(path: Path, page: int = 0) -> FileFacts:
    """Read a mask file and measure it. Raises `DecodeError` for one that cannot be read."""
    stored = read_stored_mask(path, page=page)
    return measure(stored, path)


def measure(stored: StoredMask, path: Path) -> FileFacts:
    """The facts of a mask file that has been read."""
    name = str(path)
    pixels = pixels_of(stored, name)
    coloured = pixels.ndim == 3 and is_coloured(pixels, lossy=stored.lossy)
    layouts = {"grey": Layout()}
    if stored.palette is not None:
        layouts["index"] = Layout("index")
    if coloured:
        layouts["peak"] = Layout("peak")
    if stored.alpha is not None and (_varies(stored.alpha) or not stored.alpha.any()):
        layouts |= {"alpha": Layout("alpha"), "composite": Layout(composite=True)}
        if coloured:
            layouts["composite peak"] = Layout("peak", composite=True)
    planes = {
        plane: histogram_of(values_of(stored, layout, name)) for plane, layout in layouts.items()
    }
    channel = _only_channel(pixels) if coloured else ""
    seen = _composited(pixels, stored)
    if channel:
        planes[channel] = histogram_of(values_of(stored, Layout(channel), name))
    return FileFacts(
        path=path,
        form=_form(stored, coloured),
        lossy=stored.lossy,
        planes=planes,
        white_is_zero=stored.white_is_zero,
        bits=stored.bits,
        top=highest_of(stored) if stored.white_is_zero else 255,
        edge=_edge(pixels) if stored.white_is_zero else 0.0,
        used=_used(stored),
        hues=hues_of(seen, coloured, stored.lossy),
        faint=faint_of(seen, coloured) if stored.lossy else (),
        channel=channel,
        opaque=_opaque(pixels, stored.alpha),
        has_alpha=stored.alpha is not None,
        deepest=int(stored.samples.max(initial=0)),
        alpha_edge=_edge(stored.alpha) if _varies(stored.alpha) else 0.0,
        index_edge=_index_edge(stored),
    )


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
    return float((_outer(pixels) > int(pixels.max(initial=0)) // 2).mean()) if pixels.any() else 0.0


def _index_edge(stored: StoredMask) -> dict[int, float]:
    """The share of each index of a palette among the outermost pixels."""
    if stored.palette is None:
        return {}
    outer = _outer(stored.samples)
    return {int(index): float((outer == index).mean()) for index in np.unique(outer)}


def _outer(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


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
    return tuple(map(unpack, np.unique(pack(shown))[:3]))

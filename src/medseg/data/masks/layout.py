"""One decision for a set: what of palettes, colours, alpha and display tables is the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medseg.data.masks.colours import (
    LOSSY_TINT,
    TINT,
    Colour,
    lightness,
    rgb_text,
    same_hue,
    same_tint,
)
from medseg.data.masks.facts import FileFacts
from medseg.data.masks.histogram import Histogram
from medseg.data.masks.planes import Layout
from medseg.errors import UserError

SOFT = 0.2  # levels less solid than this are the soft edges of a shape
BRIGHT = 0.75  # of the range: below, values are class indices
BLACK = (0, 0, 0)
LIGHTER = 16  # by how much the lighter of two colours is
SAY_COLOURS = (
    "say which colour is which class, the background first: --mask-colours {} (or colours in"
    " dataset.yaml)"
)
CLEAR_EDGE = (0.35, 0.65)  # between these, the edge of an image does not tell what is background


def choose_layout(
    files: Sequence[FileFacts], colours: tuple[Colour, ...] = (), advice: str = SAY_COLOURS
) -> Layout:
    """How all masks of a set are read. `colours` are those of the classes, where the user says.

    Raises `UserError` that names a file of each kind where the masks are not alike. `advice` is
    what to do about several colours, with {} for an example of three.
    """
    if colours:
        _refuse_veiled(files)
        return Layout("colours", composite=True, colours=colours)
    if any(facts.opaque for facts in files):
        layout = _with_alpha(files)
        if layout.plane == "alpha":
            return layout
    else:
        layout = Layout()
    layout = replace(layout, plane=_plane(files, advice))
    return replace(layout, shown=_white_is_zero(files, layout))


def plane_of(facts: FileFacts, layout: Layout) -> Histogram:
    """The histogram of a file in this layout."""
    plane = layout.plane
    if plane == "index" and facts.form != "palette":
        plane = "grey"
    if layout.composite and "composite" in facts.planes:
        plane = {"grey": "composite", "peak": "composite peak"}.get(plane, plane)
    found = facts.planes.get(plane) or facts.planes.get("composite") or facts.planes["grey"]
    if layout.shown and facts.white_is_zero:
        return found.turned(facts.top)
    return found


def about_layout(layout: Layout) -> str:
    """What was taken, for the line that tells the user; "" for grey values as they are."""
    words = {
        "index": "indices of the palette",
        "peak": "one colour on black",
        "alpha": "in the alpha channel",
        "colours": f"{len(layout.colours)} colours",
        "grey": "",
    }
    parts = [words.get(layout.plane, f"in the {layout.plane} channel")]
    parts += ["transparent is black"] if layout.composite and layout.plane != "colours" else []
    parts += ["white is zero, as the header says"] if layout.shown else []
    return ", ".join(filter(None, parts))


def _with_alpha(files: Sequence[FileFacts]) -> Layout:
    """The alpha channel where only it has a shape, else the colours on black."""
    opaque = {colour for facts in files for colour in facts.opaque}
    if len(opaque) > 1:
        _refuse_veiled(files)
        return Layout(composite=True)
    there = [facts for facts in files if facts.opaque]
    bare = next((facts for facts in files if not facts.has_alpha and facts.is_drawn), None)
    if bare:
        raise UserError(
            f"{there[0].path}: holds its shape in the alpha channel, {bare.path} has no alpha; code"
            " all masks alike"
        )
    if float(np.mean([facts.alpha_edge for facts in there])) > CLEAR_EDGE[0]:
        raise UserError(
            f"{there[0].path}: is opaque along the image's edge and of one colour, so that its"
            f" shape may be the transparent part, as in {len(there)} such masks; save them without"
            " alpha, the background black"
        )
    return Layout("alpha")


def _refuse_veiled(files: Sequence[FileFacts]) -> None:
    """`UserError` for areas that are nearly transparent: drawn, or not?"""
    for facts in files:
        alpha = facts.planes.get("alpha")
        if alpha is None:
            continue
        half = int(alpha.levels[-1]) // 2
        veiled = alpha.levels[(alpha.solid > 0) & (alpha.levels > 0) & (alpha.levels <= half)]
        if len(veiled):
            raise UserError(
                f"{facts.path}: holds areas of alpha {veiled[0]}, neither transparent nor opaque;"
                " save the masks without alpha, the background black"
            )


def _plane(files: Sequence[FileFacts], advice: str) -> str:
    """The plane of a set whose shape is not in alpha."""
    palettes = [facts for facts in files if facts.form == "palette"]
    if palettes:
        plane = _palette_plane(files, palettes, advice)
        if plane:
            return plane
    coloured = [facts for facts in files if "peak" in facts.planes]
    if not coloured:
        return "grey"
    drawn = [facts for facts in files if facts.is_drawn]
    channels = {facts.channel for facts in drawn}
    if len(channels) == 1 and "" not in channels:
        return channels.pop()
    _require_one_hue(drawn, advice)
    return "peak"


def _palette_plane(files: Sequence[FileFacts], palettes: Sequence[FileFacts], advice: str) -> str:
    """ "index" or "grey" for a set with palettes; "" where only their colours tell."""
    colour_of: dict[int, Colour] = {}
    index_of: dict[Colour, int] = {}
    for facts in palettes:
        if len(set(facts.used.values())) < len(facts.used):
            raise UserError(
                f"{facts.path}: two indices of its palette have one colour; save the indices"
                " without a palette"
            )
        for index, colour in facts.used.items():
            if colour_of.setdefault(index, colour) != colour:
                return ""  # the tables differ: indices mean another thing in each file
            if index_of.setdefault(colour, index) != index:
                return ""
    if len(index_of) == 2:
        _require_order(palettes, colour_of, advice)
    if all(len(set(colour)) == 1 for colour in index_of):
        return "grey" if _is_grey_scale(colour_of, palettes) else "index"
    black = index_of.get((0, 0, 0), 0)
    if black != 0:
        _require_outside(palettes, black, advice)
    if black != 0 or (len(index_of) == 2 and BLACK in index_of):
        return ""
    if len(index_of) == 2 and any(facts.form != "palette" and facts.is_drawn for facts in files):
        return ""
    return "index"


def _require_order(
    palettes: Sequence[FileFacts], colour_of: dict[int, Colour], advice: str
) -> None:
    """`UserError` for two colours, where it is not clear which of them is the background.

    Black is, or the darker of two greys, if it has the lower index or lies along the edge of the
    images. Of two other colours the darker one is only where both are so.
    """
    (low, first), (high, second) = sorted(colour_of.items())
    at, dark, light = low, first, second
    if lightness(first) > lightness(second):
        at, dark, light = high, second, first
    edge = float(np.mean([facts.index_edge.get(at, 0.0) for facts in palettes]))
    outside, before = edge > CLEAR_EDGE[1], dark == first
    grey = len(set(dark)) == len(set(light)) == 1
    if max(dark) == 0 or grey:
        clear = before or outside
    else:
        clear = before and outside and lightness(dark) + LIGHTER < lightness(light)
    if clear:
        return
    where = next((facts.path for facts in palettes if len(facts.used) == 2), palettes[0].path)
    example = " ".join("{},{},{}".format(*colour) for colour in (dark, light))
    raise UserError(
        f"{where}: two colours, {rgb_text(first)} with index {low} and {rgb_text(second)} with"
        f" {high}; which is the background is not clear; {advice.format(example)}"
    )


def _require_outside(palettes: Sequence[FileFacts], black: int, advice: str) -> None:
    """`UserError` where black has another index than 0 and is not along the edge of the images."""
    if float(np.mean([facts.index_edge.get(black, 0.0) for facts in palettes])) <= CLEAR_EDGE[1]:
        _, other = min(pair for facts in palettes for pair in facts.used.items())
        example = " ".join("{},{},{}".format(*colour) for colour in (BLACK, other))
        raise UserError(
            f"{palettes[0].path}: black has the index {black}, behind {rgb_text(other)}; which of"
            f" them is the background is not clear; {advice.format(example)}"
        )


def _is_grey_scale(colour_of: dict[int, Colour], palettes: Sequence[FileFacts]) -> bool:
    """Whether grey palettes hold brightness; else each grey stands for a class."""
    greys = {index: colour[0] for index, colour in colour_of.items()}
    if set(greys.values()) <= {0, 255} or all(index == grey for index, grey in greys.items()):
        return True
    ordered = [greys[index] for index in sorted(greys)]
    if ordered != sorted(ordered):
        return True  # white first: the order of indices is none of classes
    counts, solid = np.zeros(256), np.zeros(256)
    for facts in palettes:
        plane = facts.planes["grey"]
        counts[plane.levels] += plane.counts
        solid[plane.levels] += plane.solid
    between = [grey for grey in ordered if 0 < grey < 255]
    return solid[between].sum() < SOFT * counts[between].sum()


def _require_one_hue(drawn: Sequence[FileFacts], advice: str) -> None:
    """`UserError` that lists the colours of a set where there are several."""
    hues: list[Colour] = []
    first: list[FileFacts] = []
    for facts in drawn:
        noise = LOSSY_TINT if facts.lossy else TINT
        for colour in facts.hues:
            if not any(same_hue(colour, known, noise) for known in hues):
                hues.append(colour)
                first.append(facts)
    for facts in drawn:
        for colour in facts.faint:
            if not any(same_tint(colour, known) for known in hues):
                hues.append(colour)
                first.append(facts)
    if len(hues) < 2:
        return
    listed = ", ".join(map(rgb_text, hues[:6]))
    more = ", ..." if len(hues) > 6 else ""
    example = " ".join("{},{},{}".format(*colour) for colour in [(0, 0, 0), *hues[:3]])
    where = str(first[0].path)
    if first[1] is not first[0]:
        where += f" and {first[1].path}"
    raise UserError(
        f"{where}: masks in several colours, {listed}{more}; expected one colour on black; or"
        f" {advice.format(example)}"
    )


def _white_is_zero(files: Sequence[FileFacts], layout: Layout) -> bool:
    """Whether files whose header says that white is zero are to be inverted, as viewers do.

    Class indices never are: the header is a display table. For two extremes the edge of the images
    tells, which is background in most sets. Raises `UserError` where it does not.
    """
    flagged = [facts for facts in files if facts.white_is_zero]
    if not flagged or layout.plane != "grey":
        return False
    bright = any(plane_of(facts, layout).levels[-1] > BRIGHT * facts.top for facts in flagged)
    if not bright:
        return False
    edge = float(np.mean([facts.edge for facts in flagged]))
    if CLEAR_EDGE[0] < edge < CLEAR_EDGE[1]:
        raise UserError(
            f"{flagged[0].path}: its header says that white is zero, and neither reading has a"
            f" background along the image's edge in {len(flagged)} such masks; save them with black"
            " as zero"
        )
    return edge > 0.5

"""One decision for a set: what of palettes, colours, alpha and display tables is the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medseg.data.masks.facts import FileFacts, Histogram, same_hue
from medseg.data.masks.planes import Colour, Layout
from medseg.errors import UserError

SOFT = 0.2  # levels less solid than this are the soft edges of a shape
BRIGHT = 0.75  # of the range: below, values are class indices
CLEAR_EDGE = (0.35, 0.65)  # between these, the edge of an image does not tell what is background


def choose_layout(files: Sequence[FileFacts], colours: tuple[Colour, ...] = ()) -> Layout:
    """How all masks of a set are read. `colours` are those of the classes, where the user says.

    Raises `UserError` that names a file of each kind where the masks are not alike.
    """
    if colours:
        return Layout("colours", composite=True, colours=colours)
    if any(facts.opaque for facts in files):
        layout = _with_alpha(files)
        if layout.plane == "alpha":
            return layout
    else:
        layout = Layout()
    layout = replace(layout, plane=_plane(files))
    return replace(layout, shown=_white_is_zero(files, layout))


def plane_of(facts: FileFacts, layout: Layout) -> Histogram:
    """The histogram of a file in this layout."""
    plane = layout.plane
    if plane == "index" and facts.form != "palette":
        plane = "grey"
    if layout.composite and facts.opaque:
        plane = {"grey": "composite", "peak": "composite peak"}.get(plane, plane)
    found = facts.planes.get(plane) or facts.planes.get("composite") or facts.planes["grey"]
    if layout.shown and facts.white_is_zero:
        turned = facts.top - found.levels[::-1]
        return Histogram(turned, found.counts[::-1], found.solid[::-1])
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
        return Layout(composite=True)
    bare = next((facts for facts in files if not facts.has_alpha and facts.hues), None)
    if bare:
        other = next(facts for facts in files if facts.opaque)
        raise UserError(
            f"{other.path}: holds its shape in the alpha channel, {bare.path} has no alpha; code"
            " all masks alike"
        )
    return Layout("alpha")


def _plane(files: Sequence[FileFacts]) -> str:
    """The plane of a set whose shape is not in alpha."""
    palettes = [facts for facts in files if facts.form == "palette"]
    if palettes:
        plane = _palette_plane(files, palettes)
        if plane:
            return plane
    coloured = [facts for facts in files if "peak" in facts.planes]
    if not coloured:
        return "grey"
    drawn = [facts for facts in files if facts.hues]
    channels = {facts.channel for facts in drawn}
    if len(channels) == 1 and "" not in channels:
        return channels.pop()
    _require_one_hue(drawn)
    return "peak"


def _palette_plane(files: Sequence[FileFacts], palettes: Sequence[FileFacts]) -> str:
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
    if all(len(set(colour)) == 1 for colour in index_of):
        return "grey" if _is_grey_scale(colour_of, palettes) else "index"
    black = index_of.get((0, 0, 0))
    if black is not None and (black != 0 or len(index_of) == 2):
        return ""
    if len(index_of) == 2 and any(facts.form != "palette" and facts.hues for facts in files):
        return ""
    return "index"


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


def _require_one_hue(drawn: Sequence[FileFacts]) -> None:
    """`UserError` that lists the colours of a set where there are several."""
    hues: list[Colour] = []
    first: list[FileFacts] = []
    for facts in drawn:
        for colour in facts.hues:
            if not any(same_hue(colour, known, exact=not facts.lossy) for known in hues):
                hues.append(colour)
                first.append(facts)
    if len(hues) < 2:
        return
    shown = ", ".join(f"({r}, {g}, {b})" for r, g, b in hues[:6])
    more = ", ..." if len(hues) > 6 else ""
    example = " ".join(f"{r},{g},{b}" for r, g, b in [(0, 0, 0), *hues[:3]])
    where = str(first[0].path)
    if first[1] is not first[0]:
        where += f" and {first[1].path}"
    raise UserError(
        f"{where}: masks in several colours, {shown}{more}; expected one colour on black, or say"
        f" which colour is which class, the background first: --mask-colours {example}"
        " (or colours in dataset.yaml)"
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

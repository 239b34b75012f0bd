"""leaks.html: the counts of a split's leaks, and pictures of the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from medseg.data.decode import read_image
from medseg.files import write_text
from medseg.leaks.evidence import Evidence, Images, strength
from medseg.leaks.matching import Pair
from medseg.reports.images import EmbeddedImage, embed
from medseg.reports.page import render
from medseg.reports.tables import Table, table

WIDTH = 220  # pixels of a picture
BETWEEN = 100  # pairs shown for two parts
WITHIN = 12  # pairs shown for one part
WORDS = {
    "exact": "same pixels",
    "near": "same scene",
    "neighbour": "neighbour in time",
    "group": "same sequence or patient",
}


@dataclass(frozen=True)
class Figure:
    """A pair of images: its pictures, (name, part) of each, and what ties them together."""

    images: list[EmbeddedImage]
    names: list[tuple[str, str]]
    evidence: str
    contradicted: bool


@dataclass(frozen=True)
class Gallery:
    """The strongest pairs; `total` is how many there are."""

    title: str
    figures: list[Figure]
    total: int


def write_page(path: Path, result: dict[str, Any], images: Images, found: Evidence) -> None:
    """Write the page of `result`, the content of leaks.json."""
    if result["leaks"]:
        verdict = "LEAKY: parts share images or scenes"
    elif result["between"]:
        verdict = "no leak found"
    else:
        verdict = "one part only: nothing can leak"
    galleries = [_between(row, images, found) for row in result["between"]]
    galleries += [_within(row, images, found) for row in result["within"]]
    page = render(
        "leaks.html",
        version=result["medseg"],
        title=f"Leaks of {result['data']} ({result['split']})",
        leaky=result["leaks"],
        verdict=verdict,
        notes=result["notes"],
        between=_table(result["between"]),
        within=_table(result["within"]),
        words=WORDS,
        galleries=[gallery for gallery in galleries if gallery.figures],
    )
    write_text(path, page)


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    keys = ("part", "in", "images", *WORDS, "any")
    return table(keys, [[row[key] for key in keys] for row in rows])


def _between(row: dict[str, Any], images: Images, found: Evidence) -> Gallery:
    """The strongest partner of each image of the later part in the earlier one."""
    part, other = row["part"], row["in"]
    best: dict[int, Pair] = {}
    for pair in _strongest_first(found.exact | found.near | found.neighbour | found.group, found):
        a, b = pair if images.parts[pair[0]] == part else pair[::-1]
        if images.parts[a] == part and images.parts[b] == other:
            best.setdefault(a, (a, b))
    title = f"{part} and {other}: the strongest partner of each image"
    return _gallery(title, list(best.values()), BETWEEN, images, found)


def _within(row: dict[str, Any], images: Images, found: Evidence) -> Gallery:
    """The strongest pairs by appearance within one part."""
    part = row["part"]
    pairs = [
        pair
        for pair in _strongest_first(found.exact | found.near, found)
        if images.parts[pair[0]] == images.parts[pair[1]] == part
    ]
    return _gallery(f"Within {part}: the strongest pairs", pairs, WITHIN, images, found)


def _strongest_first(pairs: set[Pair], found: Evidence) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (strength(found, pair), pair))


def _gallery(
    title: str, pairs: Sequence[Pair], limit: int, images: Images, found: Evidence
) -> Gallery:
    figures = [_figure(pair, images, found) for pair in pairs[:limit]]
    return Gallery(title, figures, len(pairs))


def _figure(pair: Pair, images: Images, found: Evidence) -> Figure:
    ordered = (min(pair), max(pair))
    evidence = ", ".join(WORDS[kind] for kind in found.kinds(ordered))
    matches = found.matches.get(ordered)
    if matches and ordered not in found.exact:
        evidence += f", {matches} features agree"
    groups = [images.items[index].group for index in pair]
    return Figure(
        images=[_picture(images, index) for index in pair],
        names=[(images.items[index].name, images.parts[index]) for index in pair],
        evidence=evidence,
        contradicted=all(groups) and groups[0] != groups[1],
    )


def _picture(images: Images, index: int) -> EmbeddedImage:
    item = images.items[index]
    image = read_image(item.image, page=item.page).pixels
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return embed(small, item.name, quality=80)

"""What ties images of two parts together: the same pixels, the same scene, neighbours in time, the
same group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medseg.data.sample import Item
from medseg.leaks.matching import Pair

KINDS = ("exact", "near", "neighbour", "group")
# features that must agree where a table says that two images are of different groups: wrong pairs
# had 7
CONTRADICTED = 10


@dataclass(frozen=True)
class Images:
    """All images of an examination, with the part of each; parts come in order, training first."""

    items: tuple[Item, ...]
    parts: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(self.parts))


@dataclass
class Evidence:
    """Pairs (a, b), a < b, by kind; `matches` counts the agreeing local features of the near ones."""

    exact: set[Pair] = field(default_factory=set)
    near: set[Pair] = field(default_factory=set)
    neighbour: set[Pair] = field(default_factory=set)
    group: set[Pair] = field(default_factory=set)
    matches: dict[Pair, int] = field(default_factory=dict)

    def kinds(self, pair: Pair) -> list[str]:
        return [kind for kind in KINDS if pair in getattr(self, kind)]


def gather(images: Images, exact: Sequence[Pair], near: Mapping[Pair, int]) -> Evidence:
    """All pairs; an exact pair is not near as well. Neighbours are consecutive frame numbers within
    one known group.

    Weak likeness of images that are known to be of different groups is left out.
    """
    kept = {
        (a, b): count
        for (a, b), count in near.items()
        if count >= CONTRADICTED or not _contradicted(images.items[a], images.items[b])
    }
    found = Evidence(set(exact), set(kept) - set(exact), matches=dict(near))
    by_group: dict[str, list[int]] = {}
    for index, item in enumerate(images.items):
        if item.group:
            by_group.setdefault(item.group, []).append(index)
    for members in by_group.values():
        at = {_numbered(images.items[index].name): index for index in members}
        found.group |= {(a, b) for i, a in enumerate(members) for b in members[i + 1 :]}
        for (prefix, number), index in at.items():
            after = at.get((prefix, number + 1)) if number >= 0 else None
            if after is not None:
                found.neighbour.add((min(index, after), max(index, after)))
    return found


def between(images: Images, found: Evidence) -> list[dict[str, Any]]:
    """For each two parts: of the later part's images, how many have a partner of each kind in the
    earlier one.

    Counts of neighbours and groups are None where no image of either part has a group.
    """
    rows = []
    for later, part in enumerate(images.names):
        for other in images.names[:later]:
            inside = {
                kind: {
                    a if images.parts[a] == part else b
                    for a, b in getattr(found, kind)
                    if {images.parts[a], images.parts[b]} == {part, other}
                }
                for kind in KINDS
            }
            rows.append(
                {
                    "part": part,
                    "in": other,
                    "images": images.parts.count(part),
                    **_counts(inside, grouped=_grouped(images, part) and _grouped(images, other)),
                }
            )
    return rows


def within(images: Images, found: Evidence) -> list[dict[str, Any]]:
    """For each part: how many of its images have a partner of each kind in the part itself; None as
    in `between`.
    """
    rows = []
    for part in images.names:
        inside = {
            kind: {
                index
                for a, b in getattr(found, kind)
                if images.parts[a] == images.parts[b] == part
                for index in (a, b)
            }
            for kind in KINDS
        }
        rows.append(
            {
                "part": part,
                "in": "itself",
                "images": images.parts.count(part),
                **_counts(inside, grouped=_grouped(images, part)),
            }
        )
    return rows


def _grouped(images: Images, part: str) -> bool:
    return any(
        item.group for item, own in zip(images.items, images.parts, strict=True) if own == part
    )


def _counts(inside: Mapping[str, set[int]], *, grouped: bool) -> dict[str, int | None]:
    counts = {
        kind: len(inside[kind]) if grouped or kind in ("exact", "near") else None for kind in KINDS
    }
    return counts | {"any": len(set().union(*inside.values()))}


def pair_rows(images: Images, found: Evidence) -> list[dict[str, Any]]:
    """The table of pairs, those between parts first; pairs that only share a group are left out,
    they are too many.
    """
    rows = []
    for a, b in found.exact | found.near | found.neighbour:
        one, other = images.items[a], images.items[b]
        rows.append(
            {
                "name": one.name,
                "part": images.parts[a],
                "other": other.name,
                "other_part": images.parts[b],
                "evidence": "+".join(kind for kind in found.kinds((a, b)) if kind != "group"),
                "same_group": (
                    ""
                    if not (one.group and other.group)
                    else "yes"
                    if one.group == other.group
                    else "no"
                ),
                "matches": found.matches.get((a, b), ""),
                "pair": (a, b),
            }
        )
    return sorted(
        rows,
        key=lambda row: (
            row["part"] == row["other_part"],
            strength(found, row["pair"]),
            row["pair"],
        ),
    )


def strength(found: Evidence, pair: Pair) -> tuple[int, int]:
    """A sort key that puts the strongest evidence first: exact copies, then near ones by matches,
    then neighbours.
    """
    kinds = found.kinds(pair)
    return (KINDS.index(kinds[0]) if kinds else len(KINDS)), -found.matches.get(pair, 0)


def _contradicted(one: Item, other: Item) -> bool:
    return bool(one.group and other.group) and one.group != other.group


def _numbered(name: str) -> tuple[str, int]:
    """The name without the number it ends in, and that number (-1 for none)."""
    match = re.fullmatch(r"(.*?)(\d+)", name)
    return (match[1], int(match[2])) if match else (name, -1)

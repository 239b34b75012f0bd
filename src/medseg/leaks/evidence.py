"""What ties images of two parts together: pixels, scene, neighbourhood in time, or group."""

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
        """The parts, each once."""
        return list(dict.fromkeys(self.parts))


@dataclass
class Evidence:
    """Pairs (a, b), a < b, by kind; `matches` counts agreeing local features of near ones."""

    exact: set[Pair] = field(default_factory=set)
    near: set[Pair] = field(default_factory=set)
    neighbour: set[Pair] = field(default_factory=set)
    group: set[Pair] = field(default_factory=set)
    matches: dict[Pair, int] = field(default_factory=dict)

    def kinds(self, pair: Pair) -> list[str]:
        """The kinds of evidence for a pair, the strongest first."""
        return [kind for kind in KINDS if pair in getattr(self, kind)]


def gather(images: Images, exact: Sequence[Pair], near: Mapping[Pair, int]) -> Evidence:
    """All pairs; an exact pair is not near as well.

    Neighbours are consecutive frame numbers within one known group. Weak likeness of images that
    are known to be of different groups is left out.
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
    """For each two parts: how many of the later one's images have a partner in the earlier one.

    By kind of evidence, and `any`. None for the kinds that need groups where a part has none.
    """
    rows = []
    for later, part in enumerate(images.names):
        for other in images.names[:later]:
            partners = {
                kind: _indices_of(part, images, _pairs_of(found, kind, images, {part, other}))
                for kind in KINDS
            }
            grouped = _grouped(images, part) and _grouped(images, other)
            rows.append(_row(images, part, other, partners, grouped=grouped))
    return rows


def within(images: Images, found: Evidence) -> list[dict[str, Any]]:
    """For each part: how many of its images have a partner in the part itself; as `between`."""
    rows = []
    for part in images.names:
        partners = {
            kind: _indices_of(part, images, _pairs_of(found, kind, images, {part}))
            for kind in KINDS
        }
        rows.append(_row(images, part, "itself", partners, grouped=_grouped(images, part)))
    return rows


def _pairs_of(found: Evidence, kind: str, images: Images, parts: set[str]) -> list[Pair]:
    """The pairs of a kind whose two images stand in exactly these parts."""
    return [(a, b) for a, b in getattr(found, kind) if {images.parts[a], images.parts[b]} == parts]


def _indices_of(part: str, images: Images, pairs: Sequence[Pair]) -> set[int]:
    """The images of a part that occur in pairs."""
    return {index for pair in pairs for index in pair if images.parts[index] == part}


def _grouped(images: Images, part: str) -> bool:
    """Whether a group is known for any image of a part."""
    return any(
        item.group for item, own in zip(images.items, images.parts, strict=True) if own == part
    )


def _row(
    images: Images, part: str, other: str, partners: Mapping[str, set[int]], *, grouped: bool
) -> dict[str, Any]:
    """One line of the table on screen and in leaks.json."""
    counts = {
        kind: len(partners[kind]) if grouped or kind in ("exact", "near") else None
        for kind in KINDS
    }
    return {
        "part": part,
        "in": other,
        "images": images.parts.count(part),
        **counts,
        "any": len(set().union(*partners.values())),
    }


def pair_rows(images: Images, found: Evidence) -> list[dict[str, Any]]:
    """The table of pairs, those between parts first.

    Pairs that only share a group are left out: they are too many.
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
                "same_group": _same_group(one, other),
                "matches": found.matches.get((a, b), ""),
                "pair": (a, b),
            }
        )

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["part"] == row["other_part"], strength(found, row["pair"]), row["pair"]

    return sorted(rows, key=order)


def _same_group(one: Item, other: Item) -> str:
    """ "yes", "no", or nothing where a group is not known."""
    if not (one.group and other.group):
        return ""
    return "yes" if one.group == other.group else "no"


def strength(found: Evidence, pair: Pair) -> tuple[int, int]:
    """A sort key that puts the strongest evidence first.

    Exact copies, then near ones by matches, then neighbours.
    """
    kinds = found.kinds(pair)
    return (KINDS.index(kinds[0]) if kinds else len(KINDS)), -found.matches.get(pair, 0)


def _contradicted(one: Item, other: Item) -> bool:
    return bool(one.group and other.group) and one.group != other.group


def _numbered(name: str) -> tuple[str, int]:
    """The name without the number it ends in, and that number (-1 for none)."""
    match = re.fullmatch(r"(.*?)(\d+)", name)
    return (match[1], int(match[2])) if match else (name, -1)

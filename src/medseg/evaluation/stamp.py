"""What a reader must know about a split before its numbers: whether groups are on both sides."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.ancestors import seen_by_ancestors
from medseg.data.digests import digests_of
from medseg.data.remembered import Remembered
from medseg.data.sample import Dataset, Item
from medseg.data.sources.groups import groups_of
from medseg.data.sources.names import some

BEFORE = {"validation": ("train",), "test": ("train", "validation")}


def split_stamp(
    dataset: Dataset,
    part: str,
    remembered: Remembered | None = None,
    copies: Collection[str] = (),
) -> dict[str, Any]:
    """The verdict on the images of `part` against those that weights were trained or selected on.

    {"verdict": "grouped" | "LEAKY" | "unknown" | "seen", "text"}. LEAKY: some image's group is in
    an earlier part too, or the image itself, byte for byte: the names of such are the `copies`.
    Grouped: the groups of all images are known and none is. Unknown: no leak is found, but not
    every image has a group; `medseg data leaks` looks for leaks by appearance. Seen: the part is
    train, or holds it. The earlier parts are those of a run, `remembered`, else of the data set.
    """
    if part not in BEFORE:
        return {"verdict": "seen", "text": f"{part}: these are, or include, the images of training"}
    parts = _names(dataset) | (remembered.parts if remembered else {})
    before = [each for each in BEFORE[part] if parts.get(each)]
    seen = [name for each in before for name in parts[each]]
    names = [item.name for item in dataset.parts.get(part, ())]
    known = groups_of(dataset) | (remembered.groups if remembered else {})
    facts = []
    if copies:
        facts.append(
            f"{len(copies)} of {len(names)} {part} images are, byte for byte, images of"
            f" {' or '.join(before)}"
        )
    return _stamp(_About(dataset.split, part, before, known), names, seen, facts)


def own_stamp(
    dataset: Dataset, part: str, remembered: Remembered, workers: int = 4
) -> dict[str, Any]:
    """`split_stamp` of a part of the data that a run was trained on, with copies looked for."""
    earlier = BEFORE.get(part, ())
    copies = copies_of(dataset.parts[part], remembered, earlier, workers) if earlier else []
    return split_stamp(dataset, part, remembered, copies)


def stamp_by_ancestors(
    stamp: dict[str, Any], run: Path, items: Sequence[Item], part: str, workers: int = 4
) -> dict[str, Any]:
    """The stamp of a part, and whether its images were seen by the runs that `run` began from.

    Weights of --init and what a teacher says hold what they were trained on. Those that an ancestor
    was selected by count for a test part, as they do for the run itself.
    """
    seen = seen_by_ancestors(run, BEFORE.get(part, ("train", "validation")))
    if not seen:
        return stamp
    digests = [each.image for each in digests_of(items, workers)]
    known = [item.name for item, each in zip(items, digests, strict=True) if each in seen]
    if not known:
        return stamp
    sources = sorted({seen[each] for each in digests if each in seen})
    fact = (
        f"{len(known)} of {len(items)} images are, byte for byte, among those that"
        f" {' and '.join(sources)} was trained on or selected by: {some(sorted(known))}"
    )
    if stamp["verdict"] in ("LEAKY", "seen"):
        return stamp | {"text": f"{stamp['text']}; {fact}"}
    return {"verdict": _verdict_on_seen(part), "text": fact}


def copies_of(
    items: Sequence[Item], remembered: Remembered, parts: Sequence[str], workers: int = 4
) -> list[str]:
    """The names of the items whose image is, byte for byte, one of these parts of a run."""
    seen = remembered.images(*parts)
    return copies_among(items, seen, workers) if seen else []


def copies_among(items: Sequence[Item], seen: Container[str], workers: int = 4) -> list[str]:
    """The names of the items whose image has one of these digests."""
    digests = digests_of(items, workers)
    return [item.name for item, each in zip(items, digests, strict=True) if each.image in seen]


def stamp_of_seen(
    dataset: Dataset, part: str, seen: Collection[str], copies: Collection[str] = ()
) -> dict[str, Any]:
    """The stamp of `part` for a run that has seen images of this data set by another split.

    `seen` are the names of the images that it was trained on or selected by, `copies` those of
    images of the part that are the same as one of them, byte for byte.
    """
    names = _names_of_part(dataset, part)
    known = set(seen).intersection(names) | set(copies)
    if known:
        return {
            "verdict": _verdict_on_seen(part),
            "text": (
                f"{len(known)} of {len(names)} images are among those that this run was trained on"
                " or selected by, by its own split"
            ),
        }
    about = _About(dataset.split, part, ["the run's training or selection"], groups_of(dataset))
    return _stamp(about, names, seen, [])


def stamp_of_other(
    dataset: Dataset,
    part: str,
    trained: str,
    copies: Collection[str] | None,
    seen: Collection[str] = (),
) -> dict[str, Any]:
    """The stamp of `part` of another data set than `trained`, that of the run.

    `copies` are the names of its images that the run was trained on or selected by, byte for byte;
    None where the run keeps no digests. `seen` are the names of those that it was trained on or
    selected by: an equal name alone proves nothing, but a reader must know.
    """
    here = f"trained on {trained}, evaluated on {dataset.name}"
    names = _names_of_part(dataset, part)
    count, alike = len(names), sorted(set(seen).intersection(names))
    if not copies:
        text = f"{here}: whether images are in both is not known"
        if copies is not None:
            text = (
                f"{here}: no image of it is one that the run was trained on or selected by, byte"
                " for byte; whether one was stored anew is not known"
            )
        if alike:
            text += (
                f"; {len(alike)} of {count} have the names of such images: {some(alike)}; if they"
                " are the same images, the numbers are LEAKY (medseg data leaks compares what is"
                " seen)"
            )
        return {"verdict": "other", "text": text}
    text = (
        f"{here}: {len(copies)} of {count} images are, byte for byte, among those that this run was"
        f" trained on or selected by: {some(sorted(copies))}"
    )
    return {"verdict": _verdict_on_seen(part), "text": text}


def _verdict_on_seen(part: str) -> str:
    return "LEAKY" if part in BEFORE else "seen"


def _names(dataset: Dataset) -> dict[str, list[str]]:
    return {part: [item.name for item in items] for part, items in dataset.parts.items()}


def _names_of_part(dataset: Dataset, part: str) -> list[str]:
    """The names of the images of a part, or of all."""
    names = _names(dataset)
    wanted = names if part == "all" else {part: names.get(part, [])}
    return [name for each in wanted.values() for name in each]


@dataclass(frozen=True)
class _About:
    """The split and part of a stamp, what it is held against, and the groups known by name."""

    split: str
    part: str
    before: Sequence[str]
    groups: Mapping[str, str | None]


def _stamp(
    about: _About, names: Sequence[str], seen: Collection[str], facts: list[str]
) -> dict[str, Any]:
    """The verdict on images `names`, none of which is named in `seen`; `facts` are leaks so far."""
    known = about.groups
    before = " or ".join(about.before)
    earlier = {known.get(name) for name in seen} - {None}
    shared = [name for name in names if known[name] in earlier]
    if shared:
        count = len({known[name] for name in shared})
        groups = f"{count} group{'s' * (count != 1)} (scenes, sequences or patients)"
        facts = [
            *facts,
            f"{len(shared)} of {len(names)} {about.part} images come from {groups} with images in"
            f" {before}",
        ]
    if facts:
        return {"verdict": "LEAKY", "text": " and ".join(facts)}
    if any(known.get(name) is None for name in (*names, *seen)):
        so_far = "no known group is divided, but " if earlier else ""
        return {
            "verdict": "unknown",
            "text": (
                f"{about.split}: {so_far}groups (sequences or patients) are not known for all"
                " images, so that a leak between the parts cannot be ruled out"
            ),
        }
    here = len({known[name] for name in names})
    return {
        "verdict": "grouped",
        "text": f"none of the {here} groups of {about.part} has images in {before}",
    }

"""What a reader must know about a split before its numbers: whether groups are on both sides."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from medseg.data.sample import Dataset
from medseg.data.sources.groups import groups_of

BEFORE = {"validation": ("train",), "test": ("train", "validation")}


def split_stamp(dataset: Dataset, part: str) -> dict[str, Any]:
    """The verdict on the images of `part` against those that weights were trained or selected on.

    {"verdict": "grouped" | "LEAKY" | "unknown" | "seen", "text"}. LEAKY: some image's group is in
    an earlier part too. Grouped: the groups of all images are known and none is. Unknown: no leak
    is found, but not every image has a group; `medseg data leaks` looks for leaks by appearance.
    Seen: the part is train, or holds it.
    """
    if part not in BEFORE:
        return {"verdict": "seen", "text": f"{part}: these are, or include, the images of training"}
    before = [each for each in BEFORE[part] if dataset.parts.get(each)]
    seen = [item.name for each in before for item in dataset.parts[each]]
    return _stamp(dataset, part, [item.name for item in dataset.parts.get(part, ())], seen, before)


def stamp_of_seen(dataset: Dataset, part: str, seen: Collection[str]) -> dict[str, Any]:
    """The stamp of `part` for a run that has seen images of this data set by another split.

    `seen` are the names of the images that it was trained on or selected by.
    """
    wanted = dataset.parts if part == "all" else {part: dataset.parts.get(part, ())}
    names = [item.name for items in wanted.values() for item in items]
    known = set(seen).intersection(names)
    if known:
        verdict = "LEAKY" if part in BEFORE else "seen"
        return {
            "verdict": verdict,
            "text": (
                f"{len(known)} of {len(names)} images are among those that this run was trained on"
                " or selected by, by its own split"
            ),
        }
    return _stamp(dataset, part, names, seen, ["the run's training or selection"])


def _stamp(
    dataset: Dataset, part: str, names: Sequence[str], seen: Collection[str], before: Sequence[str]
) -> dict[str, Any]:
    """The verdict on images `names`, none of which is in `seen`; `before` says where those are."""
    known = groups_of(dataset)
    earlier = {known.get(name) for name in seen} - {None}
    shared = [name for name in names if known[name] in earlier]
    if shared:
        count = len({known[name] for name in shared})
        groups = f"{count} group{'s' * (count != 1)} (scenes, sequences or patients)"
        return {
            "verdict": "LEAKY",
            "text": (
                f"{len(shared)} of {len(names)} {part} images come from {groups} with images in "
                f"{' or '.join(before)}"
            ),
        }
    if any(known.get(name) is None for name in (*names, *seen)):
        some = "no known group is divided, but " if earlier else ""
        return {
            "verdict": "unknown",
            "text": (
                f"{dataset.split}: {some}groups (sequences or patients) are not known for all"
                " images, so that a leak between the parts cannot be ruled out"
            ),
        }
    here = len({known[name] for name in names})
    return {
        "verdict": "grouped",
        "text": f"none of the {here} groups of {part} has images in {' or '.join(before)}",
    }

"""What a reader must know of the split before the number: whether groups stand on both of its sides."""

from __future__ import annotations

from typing import Any

from medseg.data.groups import groups_of
from medseg.data.sample import Dataset

BEFORE = {"validation": ("train",), "test": ("train", "validation")}


def split_stamp(dataset: Dataset, part: str) -> dict[str, Any]:
    """{"verdict": "grouped" | "LEAKY" | "unknown" | "seen", "text"} for the images of `part` against those trained or chosen on.

    LEAKY: some image's group is in an earlier part too. Grouped: the groups of all images are known and none is. Unknown: no
    leak is found, but not every image has a group; `medseg data leaks` looks for leaks by appearance. Seen: the part is train,
    or holds it.
    """
    if part not in BEFORE:
        return {"verdict": "seen", "text": f"{part}: these are, or include, the images of training"}
    known = groups_of(dataset)
    names = {each: [item.name for item in dataset.parts.get(each, ())] for each in (*BEFORE[part], part)}
    earlier = {known[name] for each in BEFORE[part] for name in names[each]} - {None}
    shared = [name for name in names[part] if known[name] in earlier]
    here = len({known[name] for name in names[part]})
    if shared:
        groups = len({known[name] for name in shared})
        return {"verdict": "LEAKY", "text": f"{len(shared)} of {len(names[part])} {part} images come from {groups} groups "
                                            f"(sequences or patients) that {' and '.join(BEFORE[part])} have images of"}
    if any(known[name] is None for each in names for name in names[each]):
        return {"verdict": "unknown", "text": f"{dataset.split}: groups (sequences or patients) are not known for all images, so "
                                              "that a leak between the parts cannot be ruled out"}
    return {"verdict": "grouped", "text": f"none of the {here} groups of {part} has images in {' or '.join(BEFORE[part])}"}

"""Which images belong together: frames of one video sequence, images of one patient."""

from __future__ import annotations

from medseg.data.sample import Dataset


def groups_of(dataset: Dataset) -> dict[str, str | None]:
    """The group of each image by name, from groups.csv or the catalog; None where it is not known."""
    return {item.name: item.group for items in dataset.parts.values() for item in items}

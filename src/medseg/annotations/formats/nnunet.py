"""nnU-Net's layout in two dimensions: imagesTr, labelsTr and dataset.json."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from medseg.annotations.formats import maps
from medseg.annotations.formats.options import Reading
from medseg.annotations.shapes import Annotations, Picture
from medseg.annotations.tree import Tree, read_json
from medseg.annotations.values import mapping, text, whole
from medseg.data.masks import IGNORED
from medseg.errors import UserError

ABOUT = "nnU-Net"
FOLDERS = {"imagestr": ("labelstr", "train"), "imagests": ("labelsts", "test")}


def recognises(tree: Tree) -> bool:
    """Whether there is a dataset.json beside a folder imagesTr."""
    files = tree.named("dataset.json")
    return any((path.parent / "imagesTr").is_dir() for path in files)


def read(tree: Tree, reading: Reading) -> Annotations:
    """A picture per image of one channel file; the label called ignore is not counted."""
    file = next(path for path in tree.named("dataset.json") if (path.parent / "imagesTr").is_dir())
    names, values = _labels(file)
    pictures: list[Picture] = []
    images: list[Path] = []
    labelled = {path.parent.name.lower() for path in tree.images}
    for folder, (beside, part) in FOLDERS.items():
        if beside not in labelled:
            continue
        found = [path for path in tree.images if path.parent.name.lower() == folder]
        labels = {path.stem: path for path in tree.images if path.parent.name.lower() == beside}
        several = next((path for path in found if path.stem.endswith("_0001")), None)
        if several:
            raise UserError(f"{several}: is a second channel; expected one file per image")
        images += found
        for image in found:
            label = labels.get(image.stem.removesuffix("_0000"))
            if label:
                read_map = partial(maps.by_value, label, values)
                name = image.stem.removesuffix("_0000")
                pictures.append(Picture(image, label, part=part, name=name, classes=read_map))
    if not images:
        raise UserError(
            f"{file.parent}: no PNG, TIFF or BMP in imagesTr and labelsTr; 3-D volumes are not read"
        )
    return maps.with_unlabelled(pictures, images, names)


def _labels(file: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """The names of the classes, and their positions by stored value."""
    labels: dict[str, Any] = mapping(mapping(read_json(file), str(file)).get("labels"), str(file))
    by_value: dict[int, str] = {}
    for key, value in labels.items():
        if isinstance(value, list):
            raise UserError(f"{file}: the label {key} is a region of several values; expected one")
        old = key.isdigit()  # version 1 names by value, version 2 values by name
        name, number = (value, key) if old else (key, value)
        by_value[whole(number, f"{file}: labels")] = text(name, f"{file}: labels")
    names = tuple(by_value[value] for value in sorted(by_value) if by_value[value] != "ignore")
    positions = {
        value: IGNORED if name == "ignore" else names.index(name)
        for value, name in by_value.items()
    }
    return names, positions

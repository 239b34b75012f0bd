"""Formats that have a map of classes beside each image: nnU-Net, VOC, and colours."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.annotations.shapes import Annotations, Picture
from medseg.annotations.tree import Tree, read_text
from medseg.annotations.values import shown
from medseg.data.decode import read_stored_mask
from medseg.data.masks.colours import pack
from medseg.data.masks.planes import pixels_of
from medseg.errors import UserError

Colour = tuple[int, int, int]
ENDINGS = ("", "_mask", "_segmentation", "_label", "_labels", "_L", "_gt")


def by_value(path: Path, values: dict[int, int]) -> np.ndarray:
    """uint8 [H, W] positions of classes by stored value; `UserError` for another value."""
    samples = read_stored_mask(path).samples
    if samples.ndim == 3:
        if (samples != samples[..., :1]).any():
            raise UserError(f"{path}: holds colours, expected values; give --colours")
        samples = samples[..., 0]
    found = np.unique(samples).tolist()
    wrong = [value for value in found if value not in values]
    if wrong:
        raise UserError(f"{path}: holds the value {wrong[0]}, which stands for no class")
    result = np.zeros(samples.shape, np.uint8)
    for value in found:
        result[samples == value] = values[value]
    return result


def by_colour(path: Path, colours: dict[Colour, int]) -> np.ndarray:
    """uint8 [H, W] positions of classes by colour; `UserError` for a colour of no class."""
    rgb = pixels_of(read_stored_mask(path), str(path))
    if rgb.ndim == 2:
        rgb = np.repeat(rgb[..., None], 3, 2)
    if rgb.dtype != np.uint8:
        raise UserError(f"{path}: holds {rgb.dtype}, expected colours of 8 bits per channel")
    codes = pack(rgb)
    result = np.zeros(codes.shape, np.uint8)
    for code in np.unique(codes).tolist():
        colour = (code >> 16, code >> 8 & 255, code & 255)
        if colour not in colours:
            share = float((codes == code).mean())
            raise UserError(
                f"{path}: holds the colour {','.join(map(str, colour))} in {share:.2%} of its"
                " pixels, which stands for no class; give every colour by --colours"
            )
        result[codes == code] = colours[colour]
    return result


def legend_of(given: str) -> dict[Colour, str]:
    """Class names by colour: a file of CVAT (labelmap.txt) or CSV, or "255,0,0=polyp;..."."""
    path = Path(given)
    if "=" in given:
        rows = [tuple(reversed(each.split("=", 1))) for each in given.split(";") if each.strip()]
        return _legend([(name, colour) for name, colour in rows], "--colours")
    if not path.is_file():
        raise UserError(
            f'--colours {given}: no such file; give a file, or "0,0,0=background;255,0,0=polyp"'
        )
    lines = [line for line in read_text(path).splitlines() if line.strip() and line[0] != "#"]
    if path.suffix.lower() == ".csv":
        rows = [(row[0], ",".join(row[1:4])) for row in csv.reader(lines) if len(row) >= 4]
        rows = [row for row in rows if re.search(r"\d", row[1])]
    else:
        rows = [(line.split(":")[0], line.split(":")[1]) for line in lines if ":" in line]
    return _legend(rows, str(path))


def _legend(rows: Sequence[tuple[str, str]], where: str) -> dict[Colour, str]:
    found: dict[Colour, str] = {}
    for name, colour in rows:
        words = re.findall(r"\d+", colour)
        if colour.strip().startswith("#") and re.fullmatch("#[0-9a-fA-F]{6}", colour.strip()):
            words = list(bytes.fromhex(colour.strip()[1:]))
        numbers = tuple(int(word) for word in words)
        if len(numbers) != 3 or max(numbers) > 255 or not name.strip():
            raise UserError(f"{where}: got {shown(colour)}, expected red,green,blue and a name")
        if found.get(numbers, name.strip()) != name.strip():
            raise UserError(f"{where}: the colour {colour} stands for two classes")
        found[numbers] = name.strip()
    if not found:
        raise UserError(f"{where}: has no lines of a name and a colour")
    return found


def legend_file(tree: Tree) -> Path | None:
    """labelmap.txt, or a CSV file of names and colours."""
    found = tree.named("labelmap.txt", "class_dict.csv", "colors.csv", "colours.csv", "legend.csv")
    return found[0] if found else None


def coloured(
    pairs: Sequence[tuple[Path, Path]], tree: Tree, legend: dict[Colour, str]
) -> list[Picture]:
    """Pictures whose maps are read by colour; black is the background where it has no name."""
    names = list(dict.fromkeys(legend.values()))
    positions = {colour: names.index(name) for colour, name in legend.items()}
    if (0, 0, 0) not in positions:
        positions[0, 0, 0] = len(names)  # the background, which `order_of` appends
    return [
        Picture(
            image, label, part=tree.part_of(image), classes=partial(by_colour, label, positions)
        )
        for image, label in pairs
    ]


def order_of(legend: dict[Colour, str]) -> tuple[str, ...]:
    """The names of a legend, and the background last where black has none."""
    names = tuple(dict.fromkeys(legend.values()))
    return names if (0, 0, 0) in legend else (*names, "background")


def pairs_of(images: Sequence[Path], labels: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each image that has a map, with it."""
    by_stem = {label.stem: label for label in labels}
    found = []
    for image in images:
        label = next((by_stem[s] for e in ENDINGS if (s := image.stem + e) in by_stem), None)
        found += [(image, label)] if label else []
    return found


def with_unlabelled(
    pictures: list[Picture], images: Sequence[Path], names: tuple[str, ...], note: str = ""
) -> Annotations:
    """The pictures, and those images that have no map, as images without annotation."""
    known = {picture.image for picture in pictures}
    parts = {picture.image.parent: picture.part for picture in pictures}
    more = [
        Picture(image, image, part=parts.get(image.parent, ""))
        for image in images
        if image not in known
    ]
    return Annotations((*pictures, *more), names, notes=(note,) if note else ())

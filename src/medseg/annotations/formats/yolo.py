"""YOLO segmentation: a text file per image, a line per polygon, coordinates as shares of the size.

docs.ultralytics.com/datasets/segment. The classes are in data.yaml, classes.txt or obj.names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medseg.annotations.formats.options import Reading, only_a_box
from medseg.annotations.shapes import Annotations, Picture, Shape
from medseg.annotations.tree import Tree, read_text
from medseg.annotations.values import number, shown, text
from medseg.errors import UserError

ABOUT = "YOLO polygons"
LISTS = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels")
BEYOND = 1.5  # shares a little beyond 1 are clipped; these are pixels


def recognises(tree: Tree) -> bool:
    """Whether the first text file with a line in it holds a class and coordinates."""
    for path in _label_files(tree)[:20]:
        words = read_text(path).split("\n")[0].split()
        if words:
            return len(words) >= 5 and words[0].isdigit() and all(map(_is_number, words[1:]))
    return False


def _label_files(tree: Tree) -> list[Path]:
    """Text files in folders called labels; where there are none, those beside the images."""
    files = [path for path in tree.having(".txt") if path.name.lower() not in LISTS]
    labels = [path for path in files if "labels" in [part.lower() for part in path.parent.parts]]
    if labels:
        return labels
    beside = {path.with_suffix("") for path in tree.images}
    return [path for path in files if path.with_suffix("") in beside]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read(tree: Tree, reading: Reading) -> Annotations:
    """A picture per text file. An image is found by its folder and name, images for labels."""
    names, notes = _names(tree)
    pictures: list[Picture] = []
    missing: list[str] = []
    for path in _label_files(tree):
        below = path.relative_to(tree.root).with_suffix("")
        image = tree.image("/".join(_image_folder(part) for part in below.parts), path)
        if image is None:
            missing.append(f"the image of {below}.txt")
            continue
        shapes = []
        for at, line in enumerate(read_text(path).splitlines(), 1):
            shape = _shape(line.split(), names, f"{path}: line {at}", reading)
            shapes += [shape] if shape else []
        pictures.append(Picture(image, path, tuple(shapes), None, tree.part_of(image), True))
    return Annotations(tuple(pictures), tuple(names.values()), tuple(missing), notes=notes)


def _image_folder(part: str) -> str:
    return "images" if part.lower() == "labels" else part


def _names(tree: Tree) -> tuple[dict[int, str], tuple[str, ...]]:
    """Class names by number; empty where no file has them, which the note says."""
    for path in tree.having(".yaml", ".yml"):
        try:
            document = yaml.safe_load(read_text(path))
        except (yaml.YAMLError, RecursionError, ValueError):
            raise UserError(f"{path}: is no valid YAML; expected 'names' of the classes") from None
        names: Any = document.get("names") if isinstance(document, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if isinstance(names, dict) and names:
            where = f"{path}: names"
            return {_class(key, where): text(name, where) for key, name in names.items()}, ()
    for path in tree.named(*LISTS):
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        return dict(enumerate(lines)), ()
    return {}, ("no data.yaml or classes.txt: the classes are called class 0, class 1, ...",)


def _class(word: Any, where: Any) -> int:
    try:
        return int(str(word))
    except ValueError:
        raise UserError(f"{where}: got the class {shown(word)}, expected its number") from None


def _shape(words: list[str], names: dict[int, str], where: str, reading: Reading) -> Shape | None:
    """The polygon, or box, of a line; None for an empty line and a box that is skipped."""
    if not words:
        return None
    kind = _class(words[0], where)
    if names and kind not in names:
        raise UserError(f"{where}: has the class {kind}, expected one of {len(names)} from 0 on")
    label = names.get(kind, f"class {kind}")
    shares = np.array([number(word, where) for word in words[1:]])
    if shares.size and (shares.max() > BEYOND or shares.min() < 1 - BEYOND):
        raise UserError(f"{where}: expected shares of the image from 0 to 1; these are pixels")
    if len(shares) == 4:
        if not only_a_box(where, reading):
            return None
        x, y, width, height = shares
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        outline = np.array([(x + i * width / 2, y + j * height / 2) for i, j in corners])
        return Shape(label, where, ((outline,),))
    if len(shares) % 2 or not len(shares):
        raise UserError(
            f"{where}: has {len(shares)} numbers after the class, expected pairs of x and y"
            " (confidences are written by predictions: save without them)"
        )
    return Shape(label, where, ((shares.reshape(-1, 2),),))

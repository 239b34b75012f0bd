"""What `dataset.yaml` beside the data says of them: names, pairing, classes, coding."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from medseg.config import read_yaml
from medseg.config.choices import MASK_KINDS
from medseg.errors import UserError, nearest

FILE = "dataset.yaml"
PAGES = ("first", "all")
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Description:
    """The facts of a data set that its owner wrote down; a field left out is None or empty.

    `images` is a glob and `masks` the pattern of the masks' names, both relative to the data set or
    to the folder of a part. `classes` are names with the background first, `colours` RGB by class
    name, each 0 to 255, `class_map` the class of stored values ("38=polyp"), `ignore` the stored
    values that no loss and no metric counts, and `pages` what of a file with several pictures is
    read.
    """

    name: str | None = None
    images: str | None = None
    masks: str | None = None
    classes: tuple[str, ...] = ()
    colours: dict[str, Colour] = field(default_factory=dict)
    mask_kind: str | None = None
    class_map: tuple[str, ...] = ()
    ignore: tuple[int, ...] = ()
    pages: str | None = None


KEYS = tuple(each.name for each in fields(Description))


def read_description(root: Path) -> Description:
    """The `dataset.yaml` of a folder; an empty description where there is none.

    Raises `UserError` that names the file for unknown keys and wrong values.
    """
    file = root / FILE
    if not file.is_file():
        return Description()
    try:
        return _description(read_yaml(file))
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _description(tree: dict[str, Any]) -> Description:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in KEYS:
            hint = nearest(str(key), KEYS) or ";"
            raise UserError(f"unknown key {key!r}{hint} known: {', '.join(KEYS)}")
        if value is not None:
            values[key] = PARSERS[key](key, value)
    description = Description(**values)
    strangers = [name for name in description.colours if name not in description.classes]
    if description.classes and strangers:
        raise UserError(
            f"colours: {strangers[0]} is none of the classes {', '.join(description.classes)}"
        )
    return description


def _wrong(key: str, value: Any, expected: str) -> UserError:
    return UserError(f"{key}: got {value!r}, expected {expected}")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(key, value, "a text")
    return value


def _one_of(choices: tuple[str, ...]) -> Callable[[str, Any], str]:
    def parse(key: str, value: Any) -> str:
        if value not in choices:
            raise _wrong(key, value, f"one of {', '.join(choices)}")
        return value

    return parse


def _classes(key: str, value: Any) -> tuple[str, ...]:
    """YAML reads a bare `no` or `1` as something else than a text: any plain value is a name."""
    words = value if isinstance(value, list) else []
    names = tuple(str(word).strip() for word in words if not isinstance(word, (list, dict)))
    if len(names) < 2 or len(names) != len(words) or len(set(names)) < len(names) or "" in names:
        raise _wrong(key, value, "a list of two or more different names, the background first")
    return names


def _colours(key: str, value: Any) -> dict[str, Colour]:
    if not isinstance(value, dict) or not value:
        raise _wrong(key, value, "lines such as 'polyp: [255, 0, 0]' or 'polyp: \"#ff0000\"'")
    colours = {str(name): _colour(f"{key}: {name}", colour) for name, colour in value.items()}
    if len(set(colours.values())) < len(colours):
        raise UserError(f"{key}: two classes have the same colour")
    return colours


def _colour(key: str, value: Any) -> Colour:
    if isinstance(value, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}", value):
        value = list(bytes.fromhex(value.removeprefix("#")))
    right = isinstance(value, list) and len(value) == 3 and all(map(_is_byte, value))
    if not right:
        raise _wrong(key, value, 'three whole numbers from 0 to 255 or a text such as "#ff0000"')
    return tuple(value)


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _class_map(key: str, value: Any) -> tuple[str, ...]:
    """Lines such as "38: polyp" in YAML are the words "38=polyp" of the option."""
    if not isinstance(value, dict) or not value:
        raise _wrong(key, value, "lines such as '38: polyp' or '255: ignore'")
    return tuple(f"{stored}={name}" for stored, name in value.items())


def _ignore(key: str, value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    if any(type(each) is not int or not 0 <= each <= 65535 for each in values):
        raise _wrong(key, value, "stored values such as 255 or [254, 255]")
    return tuple(dict.fromkeys(values))


PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "name": _text,
    "images": _text,
    "masks": _text,
    "classes": _classes,
    "colours": _colours,
    "mask_kind": _one_of(MASK_KINDS),
    "class_map": _class_map,
    "ignore": _ignore,
    "pages": _one_of(PAGES),
}

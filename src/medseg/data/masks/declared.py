"""What a user says of a set's masks, by options or in dataset.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medseg.config.shared import Masks
from medseg.data.masks.coding import IGNORED, MaskCoding
from medseg.data.masks.colours import Colour
from medseg.data.sources.description import Description
from medseg.errors import UserError, nearest

IGNORE_WORD = "ignore"


@dataclass(frozen=True)
class Declared:
    """How masks are coded, where it is not to be recognised.

    `kind` is "auto" or one of `MaskCoding.kind`; `classes` 0 stands for as many as there are;
    `class_map` holds (stored value, class index) and overrides both; `ignore` are stored values
    that do not count; `colours` are those of the classes, the background first; `names` too.
    """

    kind: str = "auto"
    classes: int = 0
    class_map: tuple[tuple[int, int], ...] = ()
    ignore: tuple[int, ...] = ()
    colours: tuple[Colour, ...] = ()
    names: tuple[str, ...] = ()


def parse_class_map(words: Sequence[str], names: Sequence[str] = ()) -> tuple[tuple[int, int], ...]:
    """(stored value, class index) of words such as "38=1", "255=ignore" or "2=polyp".

    Class names are those in `names`. Raises `UserError` for other words, and for a value twice.
    """
    found: dict[int, int] = {}
    for word in words:
        key, _, target = word.partition("=")
        if not key.strip().isdigit() or not target.strip():
            raise UserError(
                f"--class-map {word}: expected VALUE=CLASS, such as 38=1, 2=polyp or 255=ignore"
            )
        value = int(key)
        if value in found:
            raise UserError(f"--class-map {word}: the value {value} is given twice")
        found[value] = class_index(target.strip(), names, f"--class-map {word}")
    return tuple(found.items())


def class_index(text: str, names: Sequence[str], where: str) -> int:
    """The class of a word: an index, a name, or "ignore" for `IGNORED`."""
    if text.lower() == IGNORE_WORD:
        return IGNORED
    if text in names:
        return list(names).index(text)
    if text.isdigit() and int(text) < IGNORED:
        return int(text)
    hint = nearest(text, [*names, IGNORE_WORD]) or ";"
    known = ", ".join(names) or "class indices"
    raise UserError(f"{where}: unknown class {text}{hint} expected {known}, or {IGNORE_WORD}")


def parse_colours(words: Sequence[str]) -> tuple[Colour, ...]:
    """The colours of "0,0,0 255,0,0" or "#000000 #ff0000", the background first.

    Raises `UserError` for anything else.
    """
    return tuple(_colour(word) for word in words)


def _colour(word: str) -> Colour:
    text = word.strip()
    if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        return tuple(bytes.fromhex(text.removeprefix("#")))
    parts = text.split(",")
    if len(parts) == 3 and all(part.strip().isdigit() and int(part) < 256 for part in parts):
        return tuple(int(part) for part in parts)
    raise UserError(
        f"--mask-colours {word}: expected colours such as 0,0,0 255,0,0 or #000000 #ff0000, one"
        " for each class with the background first"
    )


def declared_by(options: Masks, description: Description, classes: int = 0) -> Declared:
    """What the options say, and where they are silent, dataset.yaml.

    `classes` are needed at least, where another set has decided.
    """
    kind = options.mask_kind if options.mask_kind != "auto" else description.mask_kind or "auto"
    names = description.classes or tuple(description.colours)
    words = options.class_map or (description.class_map if options.mask_kind == "auto" else ())
    given = parse_colours(options.mask_colours)
    colours = given or tuple(description.colours[n] for n in names if n in description.colours)
    if colours and not given and len(colours) < len(names):
        missing = next(name for name in names if name not in description.colours)
        raise UserError(f"dataset.yaml: colours: none is given for the class {missing}")
    return Declared(
        kind,
        options.classes or len(names) or classes,
        parse_class_map(words, names),
        options.ignore_index or description.ignore,
        colours,
        names,
    )


def map_words(coding: MaskCoding) -> tuple[str, ...]:
    """The --class-map under which the set is read so again; empty where its kind says it."""
    values = [value for value, index in coding.table if index not in (IGNORED,)]
    plain = coding.kind in ("binary-255", "binary-01") or coding.layout.plane == "colours"
    if plain or (coding.kind == "index" and values == list(range(coding.classes))):
        return ()
    return tuple(
        f"{value}={IGNORE_WORD if index == IGNORED else index}" for value, index in coding.table
    )


def with_names(coding: MaskCoding, names: Sequence[str]) -> MaskCoding:
    """The coding with class names; `UserError` where their number is another."""
    if not names:
        return coding
    if len(names) < coding.classes:
        raise UserError(
            f"dataset.yaml names the {len(names)} classes {', '.join(names)}, the masks hold"
            f" {coding.classes}; correct one of them"
        )
    if len(names) > coding.classes and coding.kind != "index":
        raise UserError(
            f"dataset.yaml names the {len(names)} classes {', '.join(names)}, the masks hold"
            f" background and foreground ({coding.text.removeprefix('masks: ')}); --class-map"
            " VALUE=CLASS says which they are"
        )
    return replace(coding, names=tuple(names))

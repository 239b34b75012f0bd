"""Which label becomes which class index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medseg.annotations.drawing import BACKGROUND, IGNORE
from medseg.annotations.shapes import Annotations, Picture
from medseg.annotations.tree import some
from medseg.config import ConvertConfig
from medseg.data.masks import IGNORED
from medseg.data.sources.listing import natural
from medseg.errors import UserError, nearest


def renamed(annotations: Annotations, rename: Sequence[str]) -> Annotations:
    """The annotations with labels changed by "OLD=NEW"; two labels may become one."""
    names: dict[str, str] = {}
    for pair in rename:
        old, equals, new = pair.partition("=")
        if not equals or not old.strip() or not new.strip():
            raise UserError(f"--rename {pair}: expected OLD=NEW")
        names[old.strip()] = new.strip()
    known = annotations.labels.union(annotations.classes)
    for old in names:
        if old not in known:
            raise _unknown("--rename", old, known)
    pictures = []
    for picture in annotations.pictures:
        shapes = [replace(each, label=names.get(each.label, each.label)) for each in picture.shapes]
        pictures.append(replace(picture, shapes=tuple(shapes)))
    classes = tuple(names.get(name, name) for name in annotations.classes)
    return replace(annotations, pictures=tuple(pictures), classes=classes)


def choose_classes(
    annotations: Annotations, config: ConvertConfig
) -> tuple[tuple[str, ...], dict[str, int | None], list[str]]:
    """The names, background first; the index of each label, None for one left out; notes.

    Classes come in the order of the format, or of their names where it has none; those without any
    object are left out unless the user names them.
    """
    used = _used(annotations)
    declared = tuple(dict.fromkeys(annotations.classes))
    every = (*declared, *sorted(used - {*declared}, key=natural))
    special = {name: 0 for name in every if name.lower() in BACKGROUND}
    special |= {name: IGNORED for name in every if name.lower() in IGNORE}
    for name in config.ignore:
        if name not in every:
            raise _unknown("--ignore", name, every)
        special[name] = IGNORED
    real = [name for name in every if name not in special]
    notes: list[str] = []
    wanted = [name for name in real if name in used]
    if config.classes:
        for name in config.classes:
            if name not in real:
                raise _unknown("--classes", name, real)
        wanted = list(dict.fromkeys(config.classes))
        left = [name for name in real if name in used and name not in wanted]
        if left:
            notes.append(f"left out, as they are not in --classes: {some(left, 8)}")
    elif len(wanted) < len(real):
        unused = [name for name in real if name not in used]
        notes.append(f"left out, as they have no object: {some(unused, 8)}; --classes keeps them")
    if not wanted:
        raise UserError(f"no object of any class in {len(annotations.pictures)} images")
    if len(wanted) > 254:
        raise UserError(f"{len(wanted)} classes; expected at most 254, choose by --classes")
    alike = {name.lower() for name in wanted}
    if len(alike) < len(wanted):
        notes.append("some classes differ by capitals only: --rename OLD=NEW makes them one")
    indices: dict[str, int | None] = dict.fromkeys(every) | special
    if config.binary:
        names = ("background", wanted[0] if len(wanted) == 1 else "foreground")
        return names, indices | dict.fromkeys(wanted, 1), notes
    numbered = {name: index for index, name in enumerate(wanted, 1)}
    return ("background", *wanted), indices | numbered, notes


def _used(annotations: Annotations) -> set[str]:
    """The labels that have an object."""
    found = annotations.labels
    for picture in annotations.pictures:
        found |= _in_map(picture, annotations.classes)
    return found


def _in_map(picture: Picture, classes: tuple[str, ...]) -> set[str]:
    if picture.classes is None:
        return set()
    values = np.unique(picture.classes()).tolist()
    return {classes[value] for value in values if value < len(classes)}


def _unknown(option: str, name: str, known: Sequence[str] | set[str]) -> UserError:
    hint = nearest(name, known) or ";"
    return UserError(f"{option} {name}: no such class{hint} known: {some(sorted(known), 12)}")

"""What the values of masks mean, as a value that reads any file of its set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medseg.data.masks.planes import Layout
from medseg.errors import UserError

IGNORED = 255  # in memory, whatever value a file has for pixels that do not count
THRESHOLD = 127  # of 0/255 masks; JPEG noise and anti-aliased edges fall on either side of it


@dataclass(frozen=True)
class MaskCoding:
    """How the masks of a set are coded.

    `kind` is "binary-255" (threshold 127), "binary-01", "binary" (two other values, or every
    value above 0) or "index"; `classes` counts the background; `text` is for the user. `table`
    gives the class of each stored value, `IGNORED` for those that do not count; values that are not
    in it are background or foreground by `threshold`, or an error where that is None. `names` are
    the classes' names, empty where not known.
    """

    kind: str
    classes: int
    text: str = field(compare=False)
    table: tuple[tuple[int, int], ...] = ()
    threshold: int | None = None
    layout: Layout = field(default_factory=Layout)
    names: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            "kind": self.kind,
            "classes": self.classes,
            "text": self.text,
            "table": [list(pair) for pair in self.table],
            "threshold": self.threshold,
            "layout": {**vars(self.layout), "colours": [list(c) for c in self.layout.colours]},
            "names": list(self.names),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> MaskCoding:
        """The coding that `to_dict` stored."""
        layout = stored["layout"]
        colours = tuple(map(tuple, layout["colours"]))
        return cls(
            **{key: stored[key] for key in ("kind", "classes", "text", "threshold")},
            table=tuple(map(tuple, stored["table"])),
            layout=Layout(**{**layout, "colours": colours}),
            names=tuple(stored["names"]),
        )

    def class_of(self, levels: np.ndarray) -> np.ndarray:
        """int64 [levels]: the class of each stored value, -1 for one that has none."""
        if self.threshold is None:
            classes = np.full(len(levels), -1, np.int64)
        else:
            classes = (levels > self.threshold).astype(np.int64)
        for value, index in self.table:
            classes[levels == value] = index
        return classes

    def contradicted(self, other: MaskCoding) -> list[int]:
        """The stored values that both tables hold and give different classes."""
        ours, theirs = dict(self.table), dict(other.table)
        return [
            value for value in sorted(ours.keys() & theirs.keys()) if ours[value] != theirs[value]
        ]


def decode_mask(values: np.ndarray, coding: MaskCoding, *, name: str) -> np.ndarray:
    """uint8 [H, W] class indices (255 ignored) of the values of a mask file, in one plane.

    Raises `UserError` for a value that is none of the set's.
    """
    if values.dtype == np.uint8:
        levels = np.arange(256)
        classes = coding.class_of(levels)
        decoded = classes.astype(np.uint8)[values]  # -1 is 255, found below
        wrong = classes < 0
        strange = wrong[values] if wrong.any() else None
    else:
        levels, back = np.unique(values, return_inverse=True)
        classes = coding.class_of(levels)
        back = back.reshape(values.shape)
        decoded = classes.astype(np.uint8)[back]
        strange = (classes < 0)[back]
    if strange is not None and strange.any():
        value = int(values[strange][0])
        raise UserError(
            f"{name}: holds the value {value}, expected {expected(coding)}{say_what(value)}"
        )
    return decoded


def expected(coding: MaskCoding) -> str:
    """The values that a mask of this coding may hold, in words."""
    values = [value for value, index in coding.table if index != IGNORED]
    if coding.kind == "index" and values == list(range(coding.classes)):
        return f"class indices below {coding.classes}{_or_ignored(coding)}"
    return f"{', '.join(map(str, values[:12]))}{_or_ignored(coding)}"


def say_what(value: int) -> str:
    """How the user says what a value stands for that is none of the set's."""
    return f"; --class-map VALUE=CLASS ... says what each value is, {value}=ignore among them"


def _or_ignored(coding: MaskCoding) -> str:
    ignored = [value for value, index in coding.table if index == IGNORED]
    return f", or {', '.join(map(str, ignored))} for ignored pixels" if ignored else ""

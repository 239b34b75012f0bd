"""What a data set is as a whole; a fault is often what differs from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.data.masks import LARGEST_INDEX
from medseg.doctor.look import Look, Shape

INVERTED_BORDER = 0.6  # share of an image's edge that is foreground


@dataclass(frozen=True)
class Context:
    """What the set as a whole is: coding of masks (`classes` 0 is undeclared), whether 255 is seen
    to be ignored, channels of most images, and whether most masks look inverted.
    """

    kind: str
    classes: int
    ignores: bool
    channels: int
    inverted: bool


def context_of(looks: Sequence[Look], *, mask_kind: str = "auto", classes: int = 0) -> Context:
    """The coding that most masks with foreground have, unless declared, and the channels that most
    images have.
    """
    shapes = [look.shape for look in looks if look.shape]
    kind = _kind(shapes, classes) if mask_kind == "auto" else mask_kind
    channels = Counter(
        look.image_head.channels for look in looks if look.image_head and look.image_head.channels
    )
    turned = [
        looks_inverted(shape) for shape in shapes if 0 < shape.foreground < shape.counts.sum()
    ]
    return Context(
        kind,
        classes,
        any(shape.kind != "binary-255" and shape.counts[255] for shape in shapes),
        channels.most_common(1)[0][0] if channels else 0,
        len(turned) > 1 and sum(turned) > len(turned) / 2,
    )


def _kind(shapes: Sequence[Shape], classes: int) -> str:
    """The coding of most masks with foreground. Small values beside 255 are class indices with
    ignored pixels, unless a mask of the set holds values that no class index has.
    """
    noise = any(shape.counts[LARGEST_INDEX + 1 : 255].any() for shape in shapes)
    kinds = Counter(
        "binary-255" if noise and shape.ambiguous else shape.kind
        for shape in shapes
        if shape.counts[1:].any()
    )
    if kinds["index"] + kinds["binary-01"] < max(1, kinds["binary-255"]):
        return "binary-255"
    return "index" if kinds["index"] or classes > 2 else "binary-01"


def looks_inverted(shape: Shape) -> bool:
    """Whether foreground lies along most of the image's edge, but not everywhere."""
    return shape.border > INVERTED_BORDER and shape.foreground < shape.counts.sum()

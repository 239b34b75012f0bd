"""Collect every file of a data set, paired where its name allows.

Nothing is refused here: a file that fits nowhere is reported as a problem of its pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from loguru import logger

from medseg.data.sample import Item
from medseg.data.sources.catalog import Entry
from medseg.data.sources.division import lists_of
from medseg.data.sources.folder import locate, paired
from medseg.data.sources.names import name_of
from medseg.data.sources.pages import pages_of
from medseg.data.sources.pairing import Pairing
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import PARTS
from medseg.errors import UserError

WHOLE = "all"  # the only part of a data set that is not divided


@dataclass(frozen=True)
class Pair:
    """An image and its mask; if one of them is missing, `problem` says what is wrong.

    There is no problem with an image of a test part beside which its owner has put no masks. Where
    an image has several masks, which are united, `further` holds all but the first. `page` counts
    from 0 where each page of a file is an image; else it is None, and the first is looked at.
    """

    part: str
    name: str
    image: Path | None
    mask: Path | None
    problem: str = ""
    further: tuple[Path, ...] = ()
    page: int | None = None

    @property
    def masks(self) -> tuple[Path, ...]:
        """All masks of the image."""
        return (self.mask, *self.further) if self.mask else ()

    @property
    def is_bare(self) -> bool:
        """Whether it is an image that is not meant to have a mask."""
        return self.mask is None and not self.problem


@dataclass(frozen=True)
class Source:
    """A data set as it lies on disk.

    `split` is the name of the split, "as-is" for part folders, and "" if nothing divides it.
    """

    root: Path
    name: str
    split: str
    pairs: tuple[Pair, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that hold pairs, train first."""
        present = {pair.part for pair in self.pairs}
        return tuple(part for part in (WHOLE, *PARTS) if part in present)


def collect(
    data: str | Path,
    *,
    data_root: Path = Path("data"),
    split: str | None = None,
    rule: Rule | None = None,
) -> Source:
    """Collect all images and masks of a data set, in the order of parts and names.

    They are paired as for training. Without `split`, an undivided folder is one part, "all"; with
    it, only listed images count.
    Raises `UserError` only if there is no such folder, nothing in it that looks like a data set,
    or no such split.
    """
    root, entry = locate(data, data_root)
    name = entry.folder if entry else root.resolve().name
    pairing = paired(root, rule)
    if pairing.parts and split and len(pairing.parts) > 1:
        raise UserError(
            f"--split {split}: {root} is already divided ({', '.join(pairing.parts)}); omit --split"
        )
    logger.info(pairing.rule)
    for note in pairing.notes:
        logger.info(note)
    divided = bool(pairing.parts) and not split
    pairs = tuple(_pairs(pairing, divided))
    source = Source(root, name, "as-is" if divided else "", pairs)
    return _divide(source, entry, split) if split else source


def with_pages(source: Source) -> Source:
    """The data set with a pair for each page of a file; others of its files have as many."""
    return replace(source, pairs=tuple(page for pair in source.pairs for page in _pages(pair)))


def _pages(pair: Pair) -> Iterator[Pair]:
    if not pair.image:
        yield pair
        return
    try:
        items = pages_of(Item(pair.name, pair.image, pair.masks))
    except UserError as error:
        yield replace(pair, mask=None, further=(), problem=str(error))
        return
    for item in items:
        yield replace(pair, name=item.name, page=item.page if len(items) > 1 else None)


def _pairs(pairing: Pairing, divided: bool) -> Iterator[Pair]:
    """The pairs part by part, in each first those with an image, then its masks without one."""
    parts = {*pairing.parts, *(part for part, _ in pairing.bare)}
    for part in [part for part in PARTS if part in parts] or [""]:
        shown = part if divided else WHOLE
        for each in pairing.pairs:
            if each.part == part:
                mask, *further = each.masks if not each.problem else (None,)
                yield Pair(shown, each.name, each.image, mask, each.problem, tuple(further))
        for where, image in pairing.bare:
            if where == part:
                yield Pair(shown, name_of(image), image, None)
        for where, mask in pairing.lone:
            if where == part:
                yield Pair(shown, name_of(mask), None, mask, "no image for this mask")


def _divide(source: Source, entry: Entry | None, split: str) -> Source:
    """Only the pairs that the lists of `split` name; a listed name must have an image."""
    names = {pair.name for pair in source.pairs if pair.image}
    lists, scheme, origin = lists_of(split, entry, sorted(names))
    pairs: list[Pair] = []
    for part in PARTS:
        listed = dict.fromkeys(lists.get(part, ()))
        pairs += [replace(pair, part=part) for pair in source.pairs if pair.name in listed]
        problem = f"listed in {part}.txt of {origin}, but there is no such image"
        pairs += [Pair(part, name, None, None, problem) for name in listed if name not in names]
    return Source(source.root, source.name, scheme, tuple(pairs))

"""Files that hold several pictures: the first counts, or each is an image of its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.decode import DecodeError, page_count
from medseg.data.sample import Dataset, Item
from medseg.errors import UserError


def with_pages(dataset: Dataset, pages: str | None) -> Dataset:
    """The data set with each page as an item where `pages` is "all", else a note on what is unread.

    Pages of a file stay in its part, and are a group where the file has none. Raises `UserError`
    for "all" where the masks of an image have another number of pages.
    """
    pages = pages or dataset.description.pages
    counts = {item.image: max(map(_count, item.files)) for item in dataset.items}
    total = len(counts)
    counts = {image: count for image, count in counts.items() if count > 1}
    if not counts:
        return dataset
    if pages != "all":
        note = f"{_said(counts, total)}; --pages all reads each"
        return replace(dataset, notes=(*dataset.notes, note))
    parts = {
        part: tuple(page for item in items for page in _pages_of(item, counts.get(item.image, 1)))
        for part, items in dataset.parts.items()
    }
    more = sum(map(len, parts.values()))
    note = f"{len(counts)} files hold several pages: {more} pages in all, each an image of its own"
    return replace(dataset, parts=parts, notes=(*dataset.notes, note))


def is_page(name: str) -> bool:
    """Whether `with_pages` gave an item this name."""
    return re.search(r"-page\d\d+$", name) is not None


def unread_pages(images: Collection[Path]) -> str:
    """A note on images that hold several pages, of which the first is used; "" without."""
    counts = {path: count for path in images if (count := _count(path)) > 1}
    return _said(counts, len(images)) if counts else ""


def _said(counts: dict[Path, int], total: int) -> str:
    path, pages = min(counts.items())
    return (
        f"{len(counts)} of {total} images hold several pages ({path.name}: {pages}); the first is"
        " used"
    )


def _pages_of(item: Item, count: int) -> Sequence[Item]:
    if count == 1:
        return (item,)
    image = _count(item.image)
    for mask in item.masks:
        if _count(mask) != image:
            raise UserError(
                f"{mask}: holds {_pages(_count(mask))}, its image {item.image.name}"
                f" {_pages(image)}; with --pages all each page needs its mask"
            )
    digits = max(2, len(str(count)))
    return [
        replace(
            item,
            name=f"{item.name}-page{page + 1:0{digits}d}",
            group=item.group or item.name,
            page=page,
        )
        for page in range(count)
    ]


def _pages(count: int) -> str:
    return "one page" if count == 1 else f"{count} pages"


def _count(path: Path) -> int:
    """1 for a damaged file: whoever reads it says what is wrong."""
    try:
        return page_count(path)
    except DecodeError:
        return 1

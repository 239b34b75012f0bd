"""Files that hold several pictures: the first counts, or each is an image of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.decode import DecodeError, page_count
from medseg.data.sample import Dataset, Item
from medseg.data.sources.names import name_of
from medseg.errors import UserError

PAGE = re.compile(r"-page\d\d+$")


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
        part: tuple(page for item in items for page in pages_of(item))
        for part, items in dataset.parts.items()
    }
    more = sum(map(len, parts.values()))
    note = f"{len(counts)} files hold several pages: {more} pages in all, each an image of its own"
    return replace(dataset, parts=parts, notes=(*dataset.notes, note))


def page_names(name: str, count: int) -> list[str]:
    """The names of the pages of a file: NAME-page01 and so on, or NAME itself for a single one."""
    if count == 1:
        return [name]
    digits = max(2, len(str(count)))
    return [f"{name}-page{page + 1:0{digits}d}" for page in range(count)]


def is_page(name: str) -> bool:
    """Whether `with_pages` gave an item this name."""
    return PAGE.search(name) is not None


def file_name(item: Item) -> str:
    """The name without that of the page: what the file is called in lists and tables."""
    if Path(item.name).name == name_of(item.image):  # a file that has such a name by itself
        return item.name
    return PAGE.sub("", item.name)


def pages_of_files(
    files: Mapping[Path, str], pages: str
) -> tuple[dict[tuple[Path, int], str], str]:
    """The names of the pictures to read of these named files, by file and page, and a note.

    The note says what is done with files of several pages; "" where there are none.
    """
    counts = {path: _count(path) for path in files}
    several = {path: count for path, count in counts.items() if count > 1}
    if pages != "all":
        note = f"{_said(several, len(files))}; --pages all reads each" if several else ""
        return {(path, 0): name for path, name in files.items()}, note
    pictures: dict[tuple[Path, int], str] = {}
    for path, name in files.items():
        for page, page_name in enumerate(page_names(name, counts[path])):
            pictures[path, page] = page_name
    if len(set(pictures.values())) < len(pictures):
        twice = next(name for name, count in Counter(pictures.values()).items() if count > 1)
        raise UserError(f"{twice}: is the name of an image and of a page of another; rename one")
    text = f"{len(several)} of {len(files)} files hold several pages: {len(pictures)} images in all"
    return pictures, text if several else ""


def _said(counts: dict[Path, int], total: int) -> str:
    path, pages = min(counts.items())
    return (
        f"{len(counts)} of {total} images hold several pages ({path.name}: {pages}); the first is"
        " used"
    )


def pages_of(item: Item) -> Sequence[Item]:
    """An item for each page of the files; `UserError` where a mask has another number of them."""
    count = max(map(_count, item.files))
    if count == 1:
        return (item,)
    image = _count(item.image)
    for mask in item.masks:
        if _count(mask) != image:
            raise UserError(
                f"{mask}: holds {_pages(_count(mask))}, its image {item.image.name}"
                f" {_pages(image)}; with --pages all each page needs its mask"
            )
    return [
        replace(item, name=name, group=item.group or item.name, page=page)
        for page, name in enumerate(page_names(item.name, count))
    ]


def _pages(count: int) -> str:
    return "one page" if count == 1 else f"{count} pages"


def _count(path: Path) -> int:
    """1 for a damaged file: whoever reads it says what is wrong."""
    try:
        return page_count(path)
    except DecodeError:
        return 1

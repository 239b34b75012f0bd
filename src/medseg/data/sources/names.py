"""Names of images: when two are the same, and which image an entry of a list or table means."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.errors import UserError

UNSPEAKABLE = {
    "Cs": "is no UTF-8",
    "Cc": "holds a line break or another control character",
    "Zl": "holds a line break",
    "Zp": "holds a line break",
}


def same_name(name: str) -> str:
    """The one spelling (NFC) of a name: file systems and programs store an umlaut in two ways."""
    return unicodedata.normalize("NFC", name)


def name_of(file: Path) -> str:
    """The name of an image or mask: that of its file without extension, in its one spelling."""
    return same_name(file.stem)


def check_name(path: Path | str) -> None:
    """`UserError` for a file whose name no list, table or terminal can hold as it is."""
    kinds = [unicodedata.category(character) for character in Path(path).name]
    wrong = next((UNSPEAKABLE[kind] for kind in kinds if kind in UNSPEAKABLE), None)
    if wrong:
        raise UserError(f"{str(path)!r}: this name {wrong}; give the file or folder another name")


def plain(entry: str) -> str:
    """The name that an entry means, whatever images there are.

    That is the entry without blanks around it, folders, and the extension of an image.
    """
    return without_suffix(entry.strip().replace("\\", "/").rsplit("/", 1)[-1])


def without_suffix(name: str) -> str:
    """The name without the extension of an image; one without such an extension as it is."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else name


class Names:
    """The names of all images that can be meant by an entry of a list or table."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = {same_name(name): name for name in names}
        self._ends: dict[str, list[str]] = {}
        for key, name in self._exact.items():
            for end in _ends(key):
                self._ends.setdefault(end, []).append(name)

    def __contains__(self, name: str) -> bool:
        return same_name(name) in self._exact

    def find(self, entry: str) -> list[str]:
        """The names that an entry stands for: one where all is well, or none, or several.

        An entry may carry an image's extension, folders with slashes of either kind, and blanks
        around it. The extension is only left out where no image has that very name. The end "a"
        of the name "train/a" will do; several images can have it.
        """
        spellings = list(_spellings(entry))
        for spelling in spellings:
            for end in _ends(spelling):
                for candidate in (end, without_suffix(end)):
                    if candidate in self._exact:
                        return [self._exact[candidate]]
        for spelling in spellings:
            for candidate in (spelling, without_suffix(spelling)):
                if candidate in self._ends:
                    return self._ends[candidate]
        return []


def some(names: Iterable[str], count: int = 3) -> str:
    """The first few names, for messages."""
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _spellings(entry: str) -> Iterator[str]:
    """The entry as it stands, then without blanks around it, then with slashes turned."""
    entry = same_name(entry)
    stripped = entry.strip()
    yield from dict.fromkeys((entry, stripped, stripped.replace("\\", "/")))


def _ends(path: str) -> Iterator[str]:
    """The path, then the path without its first folder, without its second, ..."""
    parts = path.split("/")
    for start in range(len(parts)):
        yield "/".join(parts[start:])

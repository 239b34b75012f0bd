"""The files of a source: found once, read safely, and never outside of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.data.sources import tables
from medseg.data.sources.listing import natural
from medseg.data.sources.names import same_name
from medseg.data.sources.words import part_of, role_of
from medseg.errors import UserError

LARGEST = 2048  # MiB of one annotation file; COCO 2017 has 450


@dataclass(frozen=True)
class Tree:
    """Every visible file below `root`, images apart; `given` is what the user named."""

    given: Path
    root: Path
    files: tuple[Path, ...]
    images: tuple[Path, ...]

    def having(self, *suffixes: str) -> list[Path]:
        """The files that are no images, with one of the suffixes, in natural order."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def named(self, *names: str) -> list[Path]:
        """The files with one of the names, in any case."""
        return [path for path in self.files if path.name.lower() in names]

    def below(self, folder: Path) -> list[Path]:
        """The images directly in a folder."""
        return [path for path in self.images if path.parent == folder]

    def part_of(self, path: Path, *, in_name: bool = False) -> str:
        """The part that a folder above a file names or, with `in_name`, its own name; else ""."""
        names = path.relative_to(self.root).parts if path.is_relative_to(self.root) else ()
        found = map(part_of, reversed(names if in_name else names[:-1]))
        return next(filter(None, found), "")

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self.images:
            found.setdefault(_normal(path.name), []).append(path)
            found.setdefault(_normal(path.stem), []).append(path)
        return found

    def image(self, name: str, source: Path) -> Path | None:
        """The image that an annotation file calls `name`, with or without folder and extension.

        Only images of the source are ever found, whatever folders, drives or ".." the name has; of
        several those count whose folders fit best. Raises `UserError` where two fit alike.
        """
        words = [_normal(word) for word in re.split(r"[\\/]+", name) if word not in ("", ".")]
        found = self._by_name.get(words[-1], []) if words else []
        if len(found) > 1:
            found = self._fitting(found, words, source)
        if len(found) > 1:
            raise UserError(
                f"{source}: {name} can be {found[0]} or {found[1]}; give the folder of the images"
                " by --images"
            )
        return found[0] if found else None

    def _fitting(self, paths: list[Path], words: list[str], source: Path) -> list[Path]:
        """Those with most of the name's folders, of no masks, of the same part, and nearest."""
        wanted = self.part_of(source, in_name=True)

        def fit(path: Path) -> tuple[int, bool, bool, int]:
            is_mask = role_of(path.parent.name) == "mask"
            same = _common(map(_normal, reversed(path.parts)), reversed(words))
            near = _common(path.parent.parts, source.parent.parts)
            return same, not is_mask, bool(wanted) and self.part_of(path) == wanted, near

        best = max(map(fit, paths))
        return [path for path in paths if fit(path) == best]


def _common(some: Iterable[str], others: Iterable[str]) -> int:
    """How many words two lists share from their start."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False))))


def _normal(name: str) -> str:
    """Names that look alike are alike: in one spelling, and in small letters."""
    return same_name(name).casefold()


def open_tree(source: Path, images: Path | None, out: Path) -> Tree:
    """The files of a folder, or one file with those beside and below it.

    Hidden files and what lies in `out` are left out; links to folders are not followed. Raises
    `UserError` where there is nothing.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; expected annotations and their images")
    if source.suffix.lower() in (".zip", ".tar", ".gz", ".rar", ".7z"):
        raise UserError(f"{source}: is an archive; unpack it and give the folder")
    if images is not None and not images.is_dir():
        raise UserError(f"--images {images}: no such folder; expected that of the images")
    root = source if source.is_dir() else source.parent
    below = sorted(_walk(root, out.resolve()), key=lambda path: natural(str(path)))
    files = [path for path in below if path.suffix.lower() not in IMAGE_SUFFIXES]
    if not source.is_dir():
        files = [source]
    pictures = below if images is None else sorted(_walk(images, out.resolve()))
    pictures = [path for path in pictures if path.suffix.lower() in IMAGE_SUFFIXES]
    return Tree(source, root, tuple(files), tuple(pictures))


def _walk(root: Path, out: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below[:] = [
            name
            for name in below
            if not name.startswith((".", "__MACOSX")) and (Path(folder) / name).resolve() != out
        ]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def read_text(path: Path) -> str:
    """The text of an annotation file: `tables.read_text`, for larger ones."""
    return tables.read_text(path, LARGEST)


def read_json(path: Path) -> Any:
    """What a JSON file holds; `UserError` for what is no JSON, too deep or too large."""
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply; expected annotations") from None
    except MemoryError:
        raise UserError(f"{path}: is too large for the memory; divide it") from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: is no valid JSON ({reason}); export it again") from None


def peek_json(path: Path) -> Any:
    """What a JSON file holds, or None where it cannot be read: the reader says why."""
    try:
        return read_json(path)
    except UserError:
        return None


def some(names: Sequence[Any], count: int = 3) -> str:
    """The first few names, and how many there are if there are more."""
    text = ", ".join(str(name) for name in names[:count])
    return f"{text}, ... ({len(names)})" if len(names) > count else text

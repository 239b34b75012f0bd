"""The folders of a data set: which hold images, which masks, of which part and of which patient."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.data.sources.listing import natural
from medseg.data.sources.names import check_name, same_name
from medseg.data.sources.words import part_of, role_of

DEEPEST = 6  # levels below the data set that are looked at
JUNK = {"thumbs.db", "desktop.ini", "icon\r", "__macosx"}


@dataclass(frozen=True)
class Folder:
    """A folder with files, by what its path below the data set says.

    `role` is "image", "mask", "other" or ""; `kind` is the name that says so; `key` are the folders
    of the path that say nothing, such as a patient or a class.
    """

    path: Path
    part: str
    role: str
    kind: str
    key: tuple[str, ...]
    images: tuple[Path, ...]
    strangers: tuple[Path, ...] = ()  # files that are no images


def folders_of(root: Path) -> list[Folder]:
    """Every folder with visible files at or below `root`, in natural order."""
    found = []
    for path, names in _walk(root):
        files = [path / name for name in sorted(names, key=natural)]
        images = tuple(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
        strangers = tuple(file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES)
        for file in images:
            check_name(file.relative_to(root))
        if files:
            found.append(_folder(path, path.relative_to(root).parts, images, strangers))
    return _without_common_key(found)


def _walk(root: Path) -> Iterable[tuple[Path, list[str]]]:
    """Each folder with its visible files; links to folders are followed, but never in circles."""
    above: dict[str, set[str]] = {str(root): {os.path.realpath(root)}}
    for place, folders, files in os.walk(root, followlinks=True):
        depth = len(Path(place).relative_to(root).parts)
        visible = sorted(filter(_is_visible, folders), key=natural) if depth < DEEPEST else []
        folders[:] = [
            name for name in visible if os.path.realpath(Path(place, name)) not in above[place]
        ]
        for name in folders:
            inner = os.path.join(place, name)
            above[inner] = above[place] | {os.path.realpath(inner)}
        yield Path(place), [name for name in files if _is_visible(name)]


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in JUNK


def _folder(
    path: Path, names: Sequence[str], images: tuple[Path, ...], strangers: tuple[Path, ...]
) -> Folder:
    """What the names of the path say; the deepest one with a role decides."""
    roles = [role_of(name) for name in names]
    role = next((each for each in reversed(roles) if each), "")
    role = "other" if "other" in roles else role
    last = len(roles) - 1 - roles[::-1].index(role) if role else -1
    parts = [part_of(name, short=bool(each)) for name, each in zip(names, roles, strict=True)]
    key = [same_name(name) for at, name in enumerate(names) if not parts[at] and at != last]
    kind = names[last] if role else ""
    part = next((each for each in parts if each), "")
    return Folder(path, part, role, kind, tuple(key), images, strangers)


def _without_common_key(folders: list[Folder]) -> list[Folder]:
    """The folders without the names that all those with images begin with: DRIVE/training, ..."""
    keys = [folder.key for folder in folders if folder.images]
    levels = zip(*keys, strict=False)
    count = len(list(takewhile(lambda names: len(set(names)) == 1, levels)))
    return [replace(folder, key=folder.key[count:]) for folder in folders]

"""Which image belongs to which part: text lists, one name per line."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from medseg.data.sources.names import Names, plain, same_name, some, without_suffix
from medseg.data.sources.tables import read_text
from medseg.errors import UserError, nearest

PARTS = ("train", "validation", "test")
Element = TypeVar("Element")


def shipped_folder() -> Path:
    """The split lists that come with medseg, beside the sources or in the installed package."""
    package = Path(__file__).parents[2]
    installed = package / "splits"
    return installed if installed.is_dir() else package.parents[1] / "splits"


def shipped(dataset: str) -> list[str]:
    """The names of the schemes shipped for a data set (its folder name, such as "Kvasir-SEG")."""
    folder = shipped_folder() / dataset
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def read_split(folder: Path, images: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Names by part, from `train.txt`, `validation.txt` (or `val.txt`) and `test.txt`.

    Blank lines and those that begin with # do not count. Lines may carry a path and an image's
    extension, and a second column, such as the mask. With the names of all `images`, an entry is
    the image that `Names.find` finds, if any; without them, a name between double quotes is read
    as it is, as `write_split` writes it. Raises `UserError` where a name occurs twice or stands
    for several images, and for a folder without lists.
    """
    known = None if images is None else Names(images)
    parts: dict[str, list[str]] = {}
    where: dict[str, str] = {}
    for part in PARTS:
        file = folder / f"{part}.txt"
        if part == "validation" and not file.exists():
            file = folder / "val.txt"
        if not file.exists():
            continue
        parts[part] = [_name(file, line, known) for line in _lines(file, known)]
        for name in parts[part]:
            if name in where:
                raise UserError(
                    f"{file}: {name} is in {where[name]} already; an image belongs to one part,"
                    " once"
                )
            where[name] = f"{part}.txt"
    if not parts:
        raise UserError(f"--split {folder}: holds no train.txt, validation.txt or test.txt")
    return parts


def write_split(folder: Path, parts: dict[str, Sequence[str]]) -> None:
    """Write one list for each part, in the order given.

    A name that reads like something else, such as a comment or a file in a folder, is put between
    double quotes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, names in parts.items():
        lines = "".join(f"{_written(name)}\n" for name in names)
        (folder / f"{part}.txt").write_text(lines, encoding="utf-8", newline="\n")


def read_written(file: Path) -> list[str]:
    """The names in a list that `write_split` wrote, without looking at any image.

    Lists of earlier versions have no quotes: their lines are names as they are.
    """
    lines = read_text(file).split("\n")
    return [same_name(_unquoted(line) or line) for line in lines if line]


def random_split(names: Sequence[str], scheme: str) -> dict[str, list[str]]:
    """The parts of "random-80-10-10" or "random-80-10-10-seed7".

    A seeded permutation of the sorted names. Every part with a share above 0 gets at least one
    image. Raises `UserError` for shares that do not add up to 100 and for fewer images than
    parts.
    """
    match = re.fullmatch(r"random-(\d+)-(\d+)-(\d+)(?:-seed(\d+))?", scheme)
    if not match or sum(map(int, match.groups()[:3])) != 100:
        raise UserError(
            f"--split {scheme}: expected random-TRAIN-VALIDATION-TEST with shares that add up to"
            " 100, such as random-80-10-10 or random-80-10-10-seed7"
        )
    shares = [int(share) for share in match.groups()[:3]]
    wanted = sum(share > 0 for share in shares)
    if len(names) < wanted:
        raise UserError(
            f"--split {scheme}: {len(names)} image{'s' * (len(names) != 1)} cannot make {wanted}"
            f" parts; at least {wanted} are needed"
        )
    shuffled = sorted(names)
    random.Random(f"medseg {match[4] or 0}").shuffle(shuffled)
    held = [max(1, round(len(names) * share / 100)) if share else 0 for share in shares[1:]]
    while shares[0] and sum(held) >= len(names):  # of few images, one is left for train
        held[held.index(max(held))] -= 1
    train = len(names) - sum(held)
    found = {
        "train": shuffled[:train],
        "validation": shuffled[train : train + held[0]],
        "test": shuffled[train + held[0] :],
    }
    return {part: sorted(part_names) for part, part_names in found.items() if part_names}


def hold_out(
    items: Sequence[Element], fraction: float, seed: int
) -> tuple[list[Element], list[Element]]:
    """The items that stay, and those held out: the share `fraction` whose names hash lowest.

    The choice depends on names and `seed` alone. Of two or more items each list has at least one;
    both keep the order of `items`.
    """

    def rank(item: Element) -> bytes:
        text = f"{seed} {getattr(item, 'name', item)}"
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()

    count = min(len(items) - 1, max(1, round(len(items) * fraction)))
    taken = {id(item) for item in sorted(items, key=rank)[:count]}
    rest = [item for item in items if id(item) not in taken]
    held_out = [item for item in items if id(item) in taken]
    return rest, held_out


def unknown_scheme(scheme: str, dataset: str | None) -> UserError:
    """The error for a scheme that is neither shipped nor random nor a folder."""
    known = [*(shipped(dataset) if dataset else []), "random-80-10-10"]
    return UserError(
        f"--split {scheme}: unknown{nearest(scheme, known) or ';'} known for"
        f" {dataset or 'this folder'}: {', '.join(known)}; or give a folder of train.txt,"
        " validation.txt, test.txt"
    )


def _lines(file: Path, known: Names | None) -> list[str]:
    """The lines of a list without blank ones and comments; "#7" is no comment if an image is."""
    lines = [line for line in read_text(file).split("\n") if line.strip()]

    def is_name(line: str) -> bool:
        return known is not None and (line in known or without_suffix(line.strip()) in known)

    return [line for line in lines if not line.startswith("#") or is_name(line)]


def _name(file: Path, line: str, known: Names | None) -> str:
    """The name that a line of a list means; the plain one where no image is meant."""
    quoted = _unquoted(line)
    if known is None:
        return plain(line) if quoted is None else quoted
    for entry in _entries(line) if quoted is None else (quoted, line):
        found = known.find(entry)
        if len(found) > 1:
            raise UserError(
                f"{file}: {entry} stands for {len(found)} images: {some(found)}; give the whole"
                " name of one"
            )
        if found:
            return found[0]
    return plain(line) if quoted is None else quoted


def _entries(line: str) -> list[str]:
    """What a line can mean, the likeliest first: an image and its mask, a name, a table's row."""
    columns = [cell.strip(' "') for cell in re.split(r"[\t,;|]", line)]
    firsts = [
        cells[0]
        for cells in (columns, line.split())
        if len(cells) > 1 and all(without_suffix(cell) != cell for cell in cells)
    ]
    return [*firsts, line, columns[0]]


def _written(name: str) -> str:
    """A line for a name, between quotes where it would be read as another name otherwise."""
    as_it_is = plain(name) == name and not name.startswith(("#", '"'))
    return name if as_it_is else '"' + name.replace('"', '""') + '"'


def _unquoted(line: str) -> str | None:
    """The text of a line that is between double quotes as a whole; None for another line."""
    match = re.fullmatch(r'\s*"((?:[^"]|"")+)"\s*', line)
    return match[1].replace('""', '"') if match else None

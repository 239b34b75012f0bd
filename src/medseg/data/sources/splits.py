"""Which image belongs to which part: text lists, one name per line."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from medseg.data.decode import IMAGE_SUFFIXES
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


def read_split(folder: Path) -> dict[str, list[str]]:
    """Names by part, from `train.txt`, `validation.txt` (or `val.txt`) and `test.txt`.

    Blank lines and those that begin with # do not count. Lines may carry a path and an image's
    extension. Raises `UserError` where a name occurs twice, and for a folder without lists.
    """
    parts: dict[str, list[str]] = {}
    where: dict[str, str] = {}
    for part in PARTS:
        file = folder / f"{part}.txt"
        if part == "validation" and not file.exists():
            file = folder / "val.txt"
        if not file.exists():
            continue
        parts[part] = _names_in(file)
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
    """Write one list for each part, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, names in parts.items():
        lines = "".join(f"{name}\n" for name in names)
        (folder / f"{part}.txt").write_text(lines, encoding="utf-8")


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
        return hashlib.blake2b(text.encode(), digest_size=8).digest()

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


def _names_in(file: Path) -> list[str]:
    """The names in a list, without blank lines and comments."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [_stem(line) for line in lines if line.strip() and not line.startswith("#")]


def _stem(line: str) -> str:
    """The name in a line of a list, without folders and the extension of an image."""
    name = PurePosixPath(line.strip().replace("\\", "/")).name
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name

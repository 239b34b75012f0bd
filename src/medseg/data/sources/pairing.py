"""Which mask belongs to which image: by a rule that the user gives, or one that the names show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.sample import Item
from medseg.data.sources.layouts import Layout, Spot, find_layout, part_of_names
from medseg.data.sources.names import name_of, some
from medseg.data.sources.remarks import (
    channels_of,
    how_paired,
    left_out,
    nothing_to_pair,
    what_to_do,
)
from medseg.data.sources.rules import ADVICE, Rule, Ruled, apply_rule
from medseg.data.sources.splits import PARTS
from medseg.data.sources.tree import Folder, folders_of
from medseg.data.sources.words import part_of
from medseg.errors import UserError, counted


@dataclass(frozen=True)
class Pair:
    """An image with its masks; `problem` says what is wrong where it has none.

    `part` is "" where nothing divides the data set, `group` what the folders say.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
    part: str = ""
    group: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class Pairing:
    """Every image of a data set, the masks of no image by part, and what to tell the user.

    `rule` is how they were paired, in one line; `notes` name what is left out; `bare` are images of
    a test part, by part, beside which nobody has put masks: training can do without.
    """

    pairs: tuple[Pair, ...]
    lone: tuple[tuple[str, Path], ...]
    rule: str
    notes: tuple[str, ...]
    bare: tuple[tuple[str, Path], ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that folders or names give; none where the set is undivided."""
        present = {pair.part for pair in self.pairs}
        return tuple(part for part in PARTS if part in present)

    def items(self) -> dict[str, list[Item]]:
        """The images by part; `UserError` for the first one with a problem."""
        items: dict[str, list[Item]] = {}
        for pair in self.pairs:
            if pair.problem:
                raise UserError(f"{pair.image}: {pair.problem}")
            item = Item(pair.name, pair.image, pair.masks, pair.group)
            items.setdefault(pair.part, []).append(item)
        return items


def find_pairs(root: Path, rule: Rule | None = None) -> Pairing:
    """The images below `root` with their masks, by `rule` or by the rule that the names show.

    Raises `UserError` where there are no images or nothing says which files are masks.
    """
    folders = folders_of(root)
    if rule:
        rule.check()
        return _by_rule(rule, root, folders)
    layout = find_layout(folders)
    if layout is None or not (layout.paired or any(not spot.mixed for spot in layout.spots)):
        raise nothing_to_pair(root, folders)
    return _by_layout(layout, root, folders)


def _by_rule(rule: Rule, root: Path, folders: Sequence[Folder]) -> Pairing:
    """Pairs by the patterns, from `root` or, where nothing fits there, from each part's folder."""
    files = [file for folder in folders for file in folder.images]
    found, lone = apply_rule(rule, root, files)
    pairs = [_ruled(each, root) for each in found]
    loose = [("", mask) for mask in lone]
    if not found:
        for part, top in _part_tops(root, folders).items():
            inside = [file for file in files if top in file.parents]
            more, lone = apply_rule(rule, top, inside)
            pairs += [replace(_ruled(each, top), part=part) for each in more]
            loose += [(part, mask) for mask in lone]
    if not pairs:
        raise UserError(
            f"--images {rule.images}: fits no image in {root}, which holds"
            f" {some(str(file.relative_to(root)) for file in files) or 'none'}; expected a path"
            f" below it, such as {ADVICE}"
        )
    text = f"pairing: {rule.images} with masks {rule.masks}"
    return _finished(pairs, loose, text, [])


def _ruled(each: Ruled, root: Path) -> Pair:
    part = each.captured.get("part", "")
    named = part_of(part, short=True)
    if part and not named:
        raise UserError(
            f"{each.image}: {{part}} is {part} here; expected train, validation, test or the like"
        )
    wanted = each.wanted.replace("\0", "")
    problem = "" if each.masks else f"no mask {wanted} in {root}; correct --masks or add the file"
    name = name_of(each.image)
    return Pair(name, each.image, each.masks, named, each.captured.get("group"), problem)


def _part_tops(root: Path, folders: Sequence[Folder]) -> dict[str, Path]:
    """The folders right below `root` that are parts."""
    tops = {
        root / folder.path.relative_to(root).parts[0] for folder in folders if folder.path != root
    }
    found = {part_of(top.name): top for top in sorted(tops, reverse=True)}
    return {part: found[part] for part in PARTS if part in found}


def _by_layout(layout: Layout, root: Path, folders: Sequence[Folder]) -> Pairing:
    """Pairs of a layout, with the problems spelled out."""
    pairs: list[Pair] = []
    lone: list[tuple[str, Path]] = []
    aside: list[Path] = []
    by_folder = {spot.images.path: spot for spot in layout.spots}
    groups = _groups(layout.spots)
    images = [image for match in layout.matches.values() for image in match.masks]
    named = part_of_names(images) if list(layout.matches) == [""] and layout.full else {}
    for part, match in layout.matches.items():
        hint = what_to_do(match, folders, root)
        channels = channels_of(match)
        for image in sorted((*match.masks, *match.problems), key=_order(layout)):
            spot = by_folder[image.parent]
            text = match.problems.get(image, "")
            where = (spot.masks or spot.images).path
            problem = text and f"{text} in {where}; {channels.get(image, hint)}"
            group = groups.get(spot.key)
            name = "/".join((*spot.key, name_of(image)))
            masks = match.masks.get(image, ())
            pairs.append(Pair(name, image, masks, named.get(image, part), group, problem))
        lone += [(part, mask) for mask in match.lone]
        aside += match.aside
    notes = left_out(layout, root, folders, aside)
    bare = tuple((folder.part, image) for folder in layout.bare for image in folder.images)
    return replace(_finished(pairs, lone, how_paired(layout, root), notes), bare=bare)


def _order(layout: Layout) -> Callable[[Path], int]:
    """Sorts images as they lie: folder by folder, in natural order."""
    places: dict[Path, int] = {}
    for spot in layout.spots:
        for image in spot.images.images:
            places[image] = len(places)
    return places.__getitem__


def _groups(spots: Sequence[Spot]) -> dict[tuple[str, ...], str]:
    """A patient for each key, where folders are numbered and hold several images.

    Folders without numbers, such as benign and malignant, are classes and no groups.
    """
    keys = [spot.key for spot in spots if spot.key]
    if len(set(keys)) < 2 or max(len(spot.images.images) - spot.mixed for spot in spots) < 2:
        return {}
    for level in range(min(map(len, keys))):
        names = {key[level] for key in keys}
        if len(names) > 1 and all(any(letter.isdigit() for letter in name) for name in names):
            return {key: "/".join(key[: level + 1]) for key in keys}
    return {}


def _finished(
    pairs: Iterable[Pair], lone: Sequence[tuple[str, Path]], text: str, notes: list[str]
) -> Pairing:
    """The pairing with one name for each image, and notes on masks that are united or alone."""
    pairs = _named(list(pairs))
    several = [pair for pair in pairs if len(pair.masks) > 1]
    if several:
        notes.append(
            f"{counted(len(several), 'image has', 'images have')} several masks, which are united,"
            f" such as {several[0].image.name}: {some(mask.name for mask in several[0].masks)}"
        )
    if lone:
        notes.append(
            f"{lone[0][1].parent}: {counted(len(lone), 'mask belongs', 'masks belong')} to no"
            f" image, left out: {some(mask.name for _, mask in lone)}"
        )
    return Pairing(tuple(pairs), tuple(lone), text, tuple(notes))


def _named(pairs: list[Pair]) -> list[Pair]:
    """Short names where they tell the images of a part apart, else with the folders.

    Two files of one folder that differ in their extension only have a problem.
    """
    short = Counter((pair.part, name_of(pair.image)) for pair in pairs)
    ambiguous = {part for (part, _), count in short.items() if count > 1}
    same: dict[tuple[Path, str], list[Path]] = {}
    for pair in pairs:
        same.setdefault((pair.image.parent, name_of(pair.image)), []).append(pair.image)
    named = []
    for pair in pairs:
        others = same[pair.image.parent, name_of(pair.image)]
        name = pair.name if pair.part in ambiguous else name_of(pair.image)
        problem = pair.problem
        if len(others) > 1:
            other = some(each.name for each in others if each != pair.image)
            problem = f"{other} has the same name; names without extension must differ"
        named.append(replace(pair, name=name, problem=problem))
    return named

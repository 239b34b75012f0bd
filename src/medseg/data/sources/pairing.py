"""Which mask belongs to which image: by a rule that the user gives, or one that the names show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.sample import Item
from medseg.data.sources.layouts import Layout, Spot, find_layout, part_of_names
from medseg.data.sources.matching import Match
from medseg.data.sources.names import name_of, some
from medseg.data.sources.rules import ADVICE, Rule, Ruled, apply_rule
from medseg.data.sources.splits import PARTS
from medseg.data.sources.tree import Folder, folders_of
from medseg.data.sources.words import part_of, role_of
from medseg.errors import UserError

DRAWN = (".txt", ".json", ".xml", ".geojson")  # polygons instead of masks
PAPERS = (".csv", ".txt", ".md", ".json", ".yaml", ".yml", ".html", ".pdf", ".xlsx", ".py", ".zip")
CONVERT = "polygons are drawn as masks by 'medseg data convert'"


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
        raise _nothing(root, folders)
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
        hint = _hint(match, folders, root)
        channels = _channels(match)
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
    notes = _left_out(layout, root, folders, aside)
    bare = tuple((folder.part, image) for folder in layout.bare for image in folder.images)
    return replace(_finished(pairs, lone, _said(layout, root), notes), bare=bare)


def _order(layout: Layout) -> Callable[[Path], int]:
    """Sorts images as they lie: folder by folder, in natural order."""
    places: dict[Path, int] = {}
    for spot in layout.spots:
        for image in spot.images.images:
            places[image] = len(places)
    return places.__getitem__


def _hint(match: Match, folders: Sequence[Folder], root: Path) -> str:
    """What to do about an image that has no mask."""
    if not match.masks:
        drawn = _drawn(folders)
        if drawn:
            return f"{drawn.relative_to(root)} may hold its outline: {CONVERT}"
    total = len(match.masks) + len(match.problems)
    rule = f"masks named {match.text} pair {len(match.masks)} of {total} images; " * bool(
        match.text
    )
    return f"{rule}add or remove files, or say how they pair, such as {ADVICE}"


def _channels(match: Match) -> dict[Path, str]:
    """What to say of images that are channels of one case: c_0000, c_0001, ..."""
    cases: dict[tuple[Path, str], list[Path]] = {}
    for image in (*match.masks, *match.problems):
        if channel := re.fullmatch(r"(.+)_\d{4}", image.stem):
            cases.setdefault((image.parent, channel[1]), []).append(image)
    return {
        image: f"{some(each.name for each in sorted(files))} are channels of one image; store them"
        f" in one file, or choose one by --images '{{id}}_0000*' --masks '{{id}}*' with the folders"
        for files in cases.values()
        if len(files) > 1
        for image in files
    }


def _drawn(folders: Sequence[Folder]) -> Path | None:
    """The first file that may hold outlines of objects."""
    for folder in folders:
        for file in folder.strangers:
            named = file.stem.lower() not in ("readme", "classes", "license", "requirements")
            if file.suffix.lower() in DRAWN and named and file.name != "dataset.json":
                return file
    return None


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


def _said(layout: Layout, root: Path) -> str:
    """How the images were paired, in one line."""
    texts = []
    for part, match in layout.matches.items():
        spots = [spot for spot in layout.spots if spot.part == part]
        first = spots[0]
        images = first.images.path.relative_to(root).as_posix()
        masks = (first.masks or first.images).path.relative_to(root).as_posix()
        suffixes = {image.suffix for image in match.masks} or {".*"}
        suffix = suffixes.pop() if len(suffixes) == 1 else ".*"
        mask_suffixes = {mask.suffix for own in match.masks.values() for mask in own} or {".*"}
        mask_suffix = mask_suffixes.pop() if len(mask_suffixes) == 1 else ".*"
        more = f" and {len(spots) - 1} more folders" if len(spots) > 1 else ""
        total = len(match.masks) + len(match.problems)
        shown_images = f"{images}/{match.image_text}{suffix}".removeprefix("./")
        shown_masks = f"{masks}/{match.text}{mask_suffix}".removeprefix("./")
        texts.append(
            f"{shown_images} with masks {shown_masks}{more} ({len(match.masks)} of {total})"
        )
    return "pairing: " + "; ".join(texts)


def _left_out(
    layout: Layout, root: Path, folders: Sequence[Folder], aside: Sequence[Path]
) -> list[str]:
    """What of the data set is not used, by name."""
    used = {folder.path for spot in layout.spots for folder in (spot.images, spot.masks) if folder}
    bare = {folder.path for folder in layout.bare}
    notes = [
        f"{folder.path}: no masks lie beside these {len(folder.images)} images; they are left out"
        for folder in layout.bare
    ]
    others = [each for each in folders if each.images and each.path not in used | bare]
    if others:
        named = [f"{each.path.relative_to(root)} ({len(each.images)} images)" for each in others]
        notes.append(f"{root}: not used, and left out: {some(named, 6)}")
    if aside:
        notes.append(
            f"{len(aside)} further files of the images are left out: {some(f.name for f in aside)}"
        )
    for folder in folders:
        strange = folder.strangers if folder.path in used else ()
        if not folder.role:
            strange = [file for file in strange if file.suffix.lower() not in PAPERS]
        if strange:
            notes.append(
                f"{_count(strange, 'file')} in {folder.path} of a kind that is not read, and left"
                f" out: {some(file.name for file in strange)}"
            )
    return notes


def _finished(
    pairs: Iterable[Pair], lone: Sequence[tuple[str, Path]], text: str, notes: list[str]
) -> Pairing:
    """The pairing with one name for each image, and notes on masks that are united or alone."""
    pairs = _named(list(pairs))
    several = [pair for pair in pairs if len(pair.masks) > 1]
    if several:
        notes.append(
            f"{len(several)} images have several masks, which are united, such as"
            f" {several[0].image.name}: {some(mask.name for mask in several[0].masks)}"
        )
    if lone:
        notes.append(
            f"{lone[0][1].parent}: {len(lone)} masks belong to no image and are left out:"
            f" {some(mask.name for _, mask in lone)}"
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


def _count(files: Sequence[Path], what: str) -> str:
    return f"{len(files)} {what} is" if len(files) == 1 else f"{len(files)} {what}s are"


def _nothing(root: Path, folders: Sequence[Folder]) -> UserError:
    """The error for a folder in which nothing can be paired."""
    found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
    drawn = _drawn(folders)
    more = f"; {drawn.relative_to(root)} may hold outlines: {CONVERT}" if drawn else ""
    for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
        if role_of(folder.name) == "image" and not any(each.images for each in folders):
            return UserError(
                f"{folder}: no image in this folder; expected JPEG, PNG, TIFF, BMP, WebP or GIF"
                f" files{more}"
            )
    return UserError(
        f"{root}: expected the folders images and masks, or train, validation and test; found"
        f" {found}{more}; where images and masks have other places, say so, such as {ADVICE}"
    )


def size_mismatch(item: Item, image: tuple[int, ...], mask: tuple[int, ...]) -> UserError:
    """What to say when an image and its mask have different (height, width)."""
    if tuple(mask) == tuple(image)[::-1]:
        remedy = ": the mask is that of the image before its EXIF rotation, turn it"
    else:
        remedy = "; give the mask of this very image"
    return UserError(
        f"{item.mask}: is {mask[1]}x{mask[0]} pixels, its image {item.image.name}"
        f" {image[1]}x{image[0]}{remedy}"
    )

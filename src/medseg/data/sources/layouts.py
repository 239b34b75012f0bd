"""Where images and masks lie in a data set: which folder of images goes with which of masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.sources.listing import natural
from medseg.data.sources.matching import Match, Place, match_names
from medseg.data.sources.mixed import (
    masks_by_format,
    masks_by_others,
    masks_by_words,
    others_among,
)
from medseg.data.sources.rules import ADVICE
from medseg.data.sources.tree import Folder
from medseg.data.sources.words import (
    is_by_observer,
    mask_rank,
    part_of,
    role_of,
    without_part,
    words_of,
)
from medseg.errors import UserError

FIRST_KINDS = ("images", "image", "original")  # of several folders of images beside each other


@dataclass(frozen=True)
class Spot:
    """A folder of images and its folder of masks, which may be the same one or missing."""

    images: Folder
    masks: Folder | None
    part: str
    key: tuple[str, ...]

    @property
    def mixed(self) -> bool:
        """Whether images and masks lie in one folder."""
        return self.masks is self.images


@dataclass(frozen=True)
class Layout:
    """The spots of a data set, what was paired in them, by part, and images without any masks."""

    spots: tuple[Spot, ...]
    matches: dict[str, Match]
    bare: tuple[Folder, ...] = ()  # folders of test images beside which no masks lie

    @property
    def paired(self) -> int:
        """How many images have their masks."""
        return sum(len(match.masks) for match in self.matches.values())

    @property
    def images(self) -> int:
        """How many images there are."""
        return self.paired + sum(len(match.problems) for match in self.matches.values())

    @property
    def full(self) -> bool:
        """Whether every image has its masks."""
        return bool(self.paired) and self.paired == self.images


def find_layout(folders: Sequence[Folder]) -> Layout | None:
    """The first layout that pairs every image, else the one that pairs most; None without images.

    A layout that pairs more than half of its images is the one meant: others are not tried, and
    what is missing in it is an error.
    """
    best: Layout | None = None
    for spots in _arrangements(folders):
        layout = _matched(spots)
        if best is None or layout.paired > best.paired:
            best = layout
        if layout.full or 2 * layout.paired > layout.images:
            best = layout
            break
    if best:
        _check_rivals(best, folders)
    return best


def _check_rivals(layout: Layout, folders: Sequence[Folder]) -> None:
    """`UserError` where another folder of masks is as good as the one taken: left and right."""
    apart = [spot for spot in layout.spots if spot.masks and not spot.mixed]
    places = {(spot.part, spot.masks.key): spot for spot in apart}
    for folder in filter(_holds_masks, folders):
        spot = places.get((folder.part, folder.key))
        if spot is None or folder is spot.masks:
            continue
        kind, taken = without_part(folder.kind), without_part(spot.masks.kind)
        if kind != taken and mask_rank(kind) == mask_rank(taken):
            raise UserError(
                f"{spot.images.path}: both {spot.masks.path} and {folder.path} hold masks; say"
                f" which are meant, or unite them by a pattern that fits both, such as {ADVICE}"
            )


def _arrangements(folders: Sequence[Folder]) -> Iterator[list[Spot]]:
    """Each way in which folders can be those of images and masks, the likeliest first."""
    for kind in mask_kinds(folders):
        yield from _levels(_beside(folders, kind))
    yield from _levels(
        [Spot(each, each, each.part, each.key) for each in folders if _can_be_mixed(each)]
    )
    # nothing to pair with, but the images shall be named
    alone = [each for each in folders if each.images and each.role == "image"]
    yield from _levels([Spot(each, None, each.part, each.key) for each in alone])


def mask_kinds(folders: Sequence[Folder]) -> list[str]:
    """The kinds of mask folders, the likeliest first.

    Beside drawings of an observer, a folder called mask holds the field of view: no target.
    """
    kinds = {without_part(each.kind): each.kind for each in folders if _holds_masks(each)}
    observed = [kind for kind in kinds if is_by_observer(kind)]
    return sorted(observed or kinds, key=lambda kind: (mask_rank(kind), natural(kind)))


def _holds_masks(folder: Folder) -> bool:
    return folder.role == "mask" and bool(folder.images)


def _can_be_mixed(folder: Folder) -> bool:
    return folder.role != "other" and len(folder.images) > 1


def _beside(folders: Sequence[Folder], kind: str) -> list[Spot]:
    """Every folder of images, with the folder of masks of this kind beside it."""
    masks = {
        (each.part, each.key): each
        for each in folders
        if _holds_masks(each) and without_part(each.kind) == kind
    }
    images: dict[tuple[str, tuple[str, ...]], list[Folder]] = {}
    for each in folders:
        if each.images and each.role == "image":
            images.setdefault((each.part, each.key), []).append(each)
    for (part, key), folder in list(masks.items()):
        if (part, key) not in images and key and role_of(key[-1]) == "mask":
            key = key[:-1]  # annotations/trimaps are one
            masks.setdefault((part, key), folder)
        if (part, key) not in images:
            images[part, key] = _unnamed(folders, (part, key))
    spots = []
    for place, found in images.items():
        if found:
            chosen = min(found, key=_image_rank)
            spots.append(Spot(chosen, masks.get(place), *place))
    return spots


def _unnamed(folders: Sequence[Folder], place: tuple[str, tuple[str, ...]]) -> list[Folder]:
    """The folder of images beside masks that no word names: the one around, or the only other."""
    part, key = place
    plain = [each for each in folders if not each.role and each.images and each.part == part]
    around = [each for each in plain if each.key == key]
    inside = [each for each in plain if each.key[:-1] == key and len(each.key) == len(key) + 1]
    return around or (inside if len(inside) == 1 else [])


def _image_rank(folder: Folder) -> tuple:
    kind = folder.kind.lower()
    known = kind in FIRST_KINDS
    return (not known, FIRST_KINDS.index(kind) if known else 0, natural(kind))


def _levels(spots: Sequence[Spot]) -> Iterator[list[Spot]]:
    """The spots at the top, or those of the parts, or those of patients and classes."""
    top = [spot for spot in spots if not spot.part and not spot.key]
    parts = [spot for spot in spots if spot.part]
    below = [spot for spot in spots if not spot.part and spot.key]
    for level in filter(None, (top, parts, below)):
        depths: dict[str, int] = {}
        for spot in level:
            depths[spot.part] = min(len(spot.key), depths.get(spot.part, len(spot.key)))
        yield [spot for spot in level if len(spot.key) == depths[spot.part]]


def _matched(spots: Sequence[Spot]) -> Layout:
    """The spots with their pairs; unlabelled test images are set aside."""
    bare = [spot for spot in spots if spot.part == "test" and spot.masks is None]
    rest = [spot for spot in spots if spot not in bare] or list(spots)
    together = _match(rest)
    parts = list(dict.fromkeys(spot.part for spot in rest))
    if together.full or len(parts) == 1:
        matches = {part: _of_part(together, rest, part) for part in parts}
    else:
        matches = {part: _match([each for each in rest if each.part == part]) for part in parts}
    left = tuple(spot.images for spot in bare) if len(rest) < len(spots) else ()
    return Layout(tuple(rest), matches, left)


def _of_part(match: Match, spots: Sequence[Spot], part: str) -> Match:
    """What a match says of the files of one part."""
    own = [spot for spot in spots if spot.part == part]
    folders = {spot.images.path for spot in own} | {spot.masks.path for spot in own if spot.masks}
    return replace(
        match,
        masks={image: each for image, each in match.masks.items() if image.parent in folders},
        problems={each: text for each, text in match.problems.items() if each.parent in folders},
        lone=tuple(each for each in match.lone if each.parent in folders),
        aside=tuple(each for each in match.aside if each.parent in folders),
    )


def _match(spots: Sequence[Spot]) -> Match:
    """Pair by names; where each folder holds one image, all masks beside it are its own."""
    best: Match | None = None
    for places, aside in _places(spots):
        match = match_names(places)
        if not match.full and all(spot.key for spot in spots):
            match = _one_each(places) or match
        match = replace(match, aside=match.aside + tuple(aside))
        if best is None or len(match.masks) > len(best.masks):
            best = match
        if match.full:
            break
    if best is None:
        images = [image for spot in spots for image in spot.images.images]
        return Match({}, dict.fromkeys(images, "no mask"))
    return best


def _one_each(places: Sequence[Place]) -> Match | None:
    if not all(len(place.images) == 1 and place.masks for place in places):
        return None
    return Match({place.images[0]: place.masks for place in places}, text="*")


def _places(spots: Sequence[Spot]) -> Iterator[tuple[list[Place], list[Path]]]:
    """The files of the spots as images and masks, in each way of telling them apart, and others."""
    if not any(spot.mixed for spot in spots):
        masks = [spot.masks.images if spot.masks else () for spot in spots]
        yield [Place(spot.images.images, own) for spot, own in zip(spots, masks, strict=True)], []
        return
    for tell in (masks_by_format, masks_by_words, masks_by_others):
        places, aside = [], []
        for spot in spots:
            others = others_among(spot.images.images)
            files = [file for file in spot.images.images if file not in others]
            aside += others
            masks = tell(files)
            images = tuple(file for file in files if file not in masks)
            places.append(Place(images, tuple(file for file in files if file in masks)))
        if any(place.masks and place.images for place in places):
            yield places, aside


def part_of_names(images: Sequence[Path]) -> dict[Path, str]:
    """The parts that file names begin with (train_1, testA_1), where all do and several occur."""
    found = {image: part_of((words_of(image.stem) or [""])[0]) for image in images}
    several = {"train", "test"} <= set(found.values()) or {"train", "validation"} <= set(
        found.values()
    )
    return found if several and all(found.values()) else {}

"""Which masks belong to which images, by their names.

The rule is found from the names themselves and holds for all of them, so that no pair is a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.data.sources.affixes import NUMBER, Affix, is_cut, proposals
from medseg.data.sources.names import name_of, same_name, some
from medseg.data.sources.words import OBSERVER_WORDS, OTHER_WORDS, is_by_observer, words_of

Key = Callable[[Path], str]


def _folded(file: Path) -> str:
    return name_of(file).casefold()


def _with_suffix(file: Path) -> str:
    return same_name(file.name)


# what counts as the name of an image, and as that of a mask
KEYS: tuple[tuple[Key, Key], ...] = (
    (name_of, name_of),
    (_folded, _folded),
    (_with_suffix, name_of),  # x.jpg with x.jpg.png
)
# the forms that may occur side by side in one set
KNOWN = (
    Affix(),
    Affix(mask_after="_mask"),
    Affix(mask_after="_segmentation"),
    Affix(mask_before="p"),
)


@dataclass(frozen=True)
class Place:
    """Images and masks that can belong together: of one folder, or of two beside each other."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class Match:
    """Which masks belong to which image, and what is wrong with the others.

    `masks` holds the paired images, `problems` the others, `lone` masks of no image, and `aside`
    further files of images, such as a second observer's. `text` is the mask's name as a pattern.
    """

    masks: dict[Path, tuple[Path, ...]]
    problems: dict[Path, str] = field(default_factory=dict)
    lone: tuple[Path, ...] = ()
    aside: tuple[Path, ...] = ()
    text: str = ""
    image_text: str = "*"

    @property
    def full(self) -> bool:
        """Whether every image has its masks."""
        return bool(self.masks) and not self.problems


@dataclass(frozen=True)
class _Names:
    """The name of each image of a place, and its masks by their names."""

    images: dict[Path, str]
    masks: dict[str, list[Path]]


def match_names(places: Sequence[Place]) -> Match:
    """The masks of the images by the rule that pairs most of them.

    A rule is an `Affix` for all. Of rules that pair alike, the one whose masks are called masks,
    then the one that leaves the fewest masks over is taken; where two pair everything differently
    and nothing tells them apart, every image has a problem that says so.
    """
    best: tuple[tuple, Match] | None = None
    for image_key, mask_key in KEYS:
        found = _best([_names(place, image_key, mask_key) for place in places])
        if best is None or found[0] < best[0]:
            best = found
        if best[1].full:
            break
    return best[1]


def _names(place: Place, image_key: Key, mask_key: Key) -> _Names:
    masks: dict[str, list[Path]] = {}
    for mask in place.masks:
        masks.setdefault(mask_key(mask), []).append(mask)
    return _Names({image: image_key(image) for image in place.images}, masks)


def _best(places: Sequence[_Names]) -> tuple[tuple, Match]:
    """The rule's rank that pairs most, smaller is better, and what it pairs."""
    pool = [(name, place.masks) for place in places for name in place.images.values()]
    found = []
    for affix in proposals(pool):
        match = _apply(affix, places)
        left = len(match.lone) + len(match.aside)
        order = (-len(match.masks), affix.rank, left, affix.numbered, affix.mask_after)
        found.append((order, affix, match))
    found.sort(key=lambda each: each[0])
    order, affix, match = found[0]
    if not match.full:
        mixed = _apply_known(places)
        mixed_order = (-len(mixed.masks), 0, len(mixed.lone), False, "")
        return (mixed_order, mixed) if mixed_order < order else (order, match)
    alike = [each for each in found[1:] if each[0][:3] == order[:3]]
    rival = next((each[1] for each in alike if each[2].masks != match.masks), None)
    if rival and not is_by_observer(affix.around):
        both = f"masks named {affix.text} and {rival.text} both fit"
        match = Match({}, dict.fromkeys(match.masks, f"two masks: {both}"))
    return order, match


def _apply(affix: Affix, places: Sequence[_Names]) -> Match:
    """What a rule pairs."""
    masks: dict[Path, tuple[Path, ...]] = {}
    problems: dict[Path, str] = {}
    further: dict[str, list[Path]] = {"aside": [], "lone": []}
    for place in places:
        cores = {image: affix.core(name) for image, name in place.images.items()}
        by_core = {core: image for image, core in cores.items() if core}
        exact = {
            image: place.masks.get(affix.mask(core), []) if core else []
            for image, core in cores.items()
        }
        numbered = _numbered(affix, place, by_core, exact) if affix.numbered else {}
        for image in place.images:
            own = exact[image] + numbered.get(image, [])
            if not own:
                problems[image] = "no mask"
            elif len(exact[image]) > 1:
                problems[image] = _several(own)
            else:
                masks[image] = tuple(own)
        for stem, files in _left(place, [*exact.values(), *numbered.values()]).items():
            kind, image = _relation(stem, affix, by_core, place)
            if image:
                problems[image] = _several([*masks.pop(image, ()), *files])
            else:
                further[kind] += files
    lone, aside = tuple(further["lone"]), tuple(further["aside"])
    return Match(masks, problems, lone, aside, affix.text, affix.image_text)


def _several(masks: Sequence[Path]) -> str:
    return "several masks: " + some(mask.name for mask in masks)


def _left(place: _Names, claimed: Sequence[Sequence[Path]]) -> dict[str, list[Path]]:
    used = {mask for own in claimed for mask in own}
    return {stem: files for stem, files in place.masks.items() if not used.intersection(files)}


def _numbered(
    affix: Affix,
    place: _Names,
    by_core: Mapping[str, Path],
    exact: Mapping[Path, Sequence[Path]],
) -> dict[Path, list[Path]]:
    """The masks with a number more, by image.

    Beside a mask without number they count only if the name says that they are masks: "5_1" may
    as well be the mask of another image.
    """
    if not affix.unites and any(exact.values()):
        return {}
    before, after = re.escape(affix.mask_before), re.escape(affix.mask_after)
    apart = NUMBER if affix.mask_after[-1:].isalpha() else r"[ _.(\[-]" + NUMBER
    forms = [rf"{before}(.+){after}{apart}", rf"{before}(.+)[ _.-]\d+{after}"]
    found: dict[Path, list[Path]] = {}
    for stem, files in _left(place, list(exact.values())).items():
        matches = [match for form in forms if (match := re.fullmatch(form, stem))]
        image = next((by_core[match[1]] for match in matches if match[1] in by_core), None)
        if image:
            found.setdefault(image, []).extend(files)
    return found


def _relation(
    stem: str, affix: Affix, by_core: Mapping[str, Path], place: _Names
) -> tuple[str, Path | None]:
    """What a mask left over is: "further", with the image it is of, "aside", or "lone"."""
    for end in range(len(stem), 0, -1):
        start = stem[:end]
        if not is_cut(start, stem[end:]):
            continue
        core = start[len(affix.mask_before) : len(start) - len(affix.mask_after) or None]
        own = end < len(stem) and core in by_core and affix.mask(core) == start
        known = set(words_of(stem[end:])) & (OTHER_WORDS | OBSERVER_WORDS)
        if own and start in place.masks and not known:
            return "further", by_core[core]
        if own or start in by_core or start in place.images.values():
            return "aside", None
    return "lone", None


def _apply_known(places: Sequence[_Names]) -> Match:
    """Pairs where the four usual forms occur side by side, each image having one of them."""
    masks: dict[Path, tuple[Path, ...]] = {}
    problems: dict[Path, str] = {}
    lone: list[Path] = []
    for place in places:
        by_name = {name: image for image, name in place.images.items()}
        claimed: list[list[Path]] = []
        for image, name in place.images.items():
            forms = [form.mask(name) for form in KNOWN]
            stems = [form for form in forms if form == name or form not in by_name]
            own = [mask for stem in stems for mask in place.masks.get(stem, [])]
            claimed.append(own)
            if len(own) == 1:
                masks[image] = (own[0],)
            else:
                problems[image] = _several(own) if own else "no mask"
        for stem, files in _left(place, claimed).items():
            owners = [_relation(stem, form, by_name, place)[1] for form in KNOWN]
            for image in filter(None, owners):
                problems[image] = _several([*masks.pop(image, ()), *files])
            lone += files if not any(owners) else ()
    return Match(masks, problems, tuple(lone), (), "{stem}, {stem}_mask, ...")

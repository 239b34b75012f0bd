"""How the names of masks follow from those of images: what stands before and after what both share.

The rule is found from the names themselves and holds for all of them, so that no pair is a guess.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.data.sources.names import name_of, same_name, some
from medseg.data.sources.words import (
    IMAGE_WORDS,
    OBSERVER_WORDS,
    OTHER_WORDS,
    is_by_observer,
    names_a_mask,
    words_of,
)

SAMPLES = 9  # images whose names propose rules; all must then follow one
NUMBER = r"[ _.-]*[(\[]?\d+[)\]]?"
Key = Callable[[Path], str]
KEYS: tuple[Key, ...] = (
    name_of,
    lambda file: name_of(file).casefold(),
    lambda file: same_name(file.name),  # x.jpg with x.jpg.png
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
class Affix:
    """What stands around the shared part: in an image's name, and in its mask's.

    With `numbered`, masks may carry a number more: one for each lesion.
    """

    before: str = ""
    after: str = ""
    mask_before: str = ""
    mask_after: str = ""
    numbered: bool = False

    def core(self, image: str) -> str | None:
        """The shared part of an image's name; None where the name does not fit."""
        fits = image.startswith(self.before) and image.endswith(self.after)
        core = image[len(self.before) : len(image) - len(self.after)]
        return core if fits and core else None

    def mask(self, core: str) -> str:
        """The name of the mask."""
        return f"{self.mask_before}{core}{self.mask_after}"

    @property
    def rank(self) -> int:
        """How surely a name of this form is that of a mask; 0 is surest."""
        around = f"{self.mask_before} {self.mask_after}"
        if not around.strip() or re.fullmatch(r"[ .]*(png|jpe?g|tiff?|bmp)", around.strip(" .")):
            return 0
        return 1 if names_a_mask(around) else 2

    @property
    def unites(self) -> bool:
        """Whether numbered masks beside one without number are further lesions, not observers."""
        around = f"{self.mask_before} {self.mask_after}"
        return names_a_mask(around) and not is_by_observer(around)


# the forms that may occur side by side in one set
KNOWN = (
    Affix(),
    Affix(mask_after="_mask"),
    Affix(mask_after="_segmentation"),
    Affix(mask_before="p"),
)


def match_names(places: Sequence[Place]) -> Match:
    """The masks of the images by the rule that pairs most of them.

    A rule is an `Affix` for all. Of rules that pair alike, the one whose masks are called masks,
    then the one that leaves the fewest masks over is taken; where two pair everything differently
    and nothing tells them apart, every image has a problem that says so.
    """
    best: tuple[tuple, Match] | None = None
    for key in KEYS:
        for found in _matches(places, key):
            if best is None or found[0] < best[0]:
                best = found
        if best and best[1].full:
            break
    if best is None:
        return Match({}, {image: "no mask" for place in places for image in place.images})
    return best[1]


def _matches(places: Sequence[Place], key: Key) -> Iterator[tuple[tuple, Match]]:
    """Each rule's rank, smaller is better, and what it pairs."""
    readings = [_Reading(place, key) for place in places]
    found = []
    for affix in _proposals(readings):
        match = _apply(affix, readings)
        left = len(match.lone) + len(match.aside)
        order = (-len(match.masks), affix.rank, left, affix.numbered, affix.mask_after)
        found.append((order, affix, match))
    found.sort(key=lambda each: each[0])
    if not found or not found[0][2].full:
        yield from ((order, match) for order, _, match in found[:1])
        mixed = _apply_known(readings)
        yield (-len(mixed.masks), 0, len(mixed.lone), False, ""), mixed
        return
    order, affix, match = found[0]
    alike = [each for each in found[1:] if each[0][:3] == order[:3]]
    rival = next((each[1] for each in alike if each[2].masks != match.masks), None)
    if rival and not is_by_observer(f"{affix.mask_before} {affix.mask_after}"):
        both = f"masks named {_shown(affix)} and {_shown(rival)} both fit"
        match = Match({}, dict.fromkeys(match.masks, f"two masks: {both}"))
    yield order, match


class _Reading:
    """The names of a place, looked up in many ways."""

    def __init__(self, place: Place, key: Key) -> None:
        whole = key is KEYS[2]
        self.images = {image: key(image) for image in place.images}
        self.by_stem: dict[str, list[Path]] = {}
        for mask in place.masks:
            self.by_stem.setdefault(name_of(mask) if whole else key(mask), []).append(mask)
        self.folded = key is KEYS[1]


def _proposals(readings: Sequence[_Reading]) -> list[Affix]:
    """Rules that the names of at least two sampled images suggest, or the only image does."""
    pool = [(reading, name) for reading in readings for name in reading.images.values()]
    step = max(1, len(pool) // SAMPLES)
    samples = pool[::step][:SAMPLES]
    votes: Counter[Affix] = Counter()
    for whole in (True, False):  # the image's whole name first, then a part of it
        for reading, name in samples:
            votes.update(set(_suggested(reading, name, whole)))
        least = min(2, len(samples))
        if whole and any(count >= len(samples) for count in votes.values()):
            break
    chosen = [affix for affix, count in votes.most_common(200) if count >= least]
    if len(pool) == 1:
        chosen = [affix for affix in chosen if _is_safe_for_one(affix)]
    return [Affix(), *(affix for affix in chosen if affix != Affix())]


def _is_safe_for_one(affix: Affix) -> bool:
    """Whether what a single image's name has beside the shared part is a word for images."""
    words = set(words_of(f"{affix.before} {affix.after}"))
    return words <= {*IMAGE_WORDS, "im", "training", "train", "test", "0000"}


def _suggested(reading: _Reading, name: str, whole: bool) -> Iterator[Affix]:
    for start, end in [(0, len(name))] if whole else _runs(name):
        core = name[start:end]
        for stem in reading.by_stem:
            at = stem.find(core)
            while at >= 0:
                before, after = stem[:at], stem[at + len(core) :]
                if is_cut(before, core) and is_cut(core, after):
                    yield from _with_numbers(name[:start], name[end:], before, after)
                at = stem.find(core, at + 1)


def _with_numbers(before: str, after: str, mask_before: str, mask_after: str) -> Iterator[Affix]:
    around = set(words_of(f"{mask_before} {mask_after}"))
    if around & OTHER_WORDS:
        return
    yield Affix(before, after, mask_before, mask_after)
    if around & OBSERVER_WORDS:
        return
    yield Affix(before, after, mask_before, mask_after, numbered=True)
    for number in (rf"(.*?){NUMBER}()$", r"^()[ _.-]+\d+(?=[^\d])(.*)$"):
        match = re.search(number, mask_after)
        if match:
            yield Affix(before, after, mask_before, match[1] + match[2], numbered=True)


def _runs(name: str) -> Iterator[tuple[int, int]]:
    """Every run of whole words of a name, but not the name itself."""
    words = [word.span() for word in re.finditer(r"\d+|[^\W\d_]+", name)]
    for first in range(len(words)):
        for last in range(first, len(words)):
            span = words[first][0], words[last][1]
            if span != (0, len(name)):
                yield span


def is_cut(left: str, right: str) -> bool:
    """Whether a name may be cut between the two: not within a number or a word."""
    if not left or not right:
        return True
    a, b = left[-1], right[0]
    if a.isdigit() and b.isdigit():
        return False
    both_small = a.isalpha() and b.isalpha() and not (a.islower() and b.isupper())
    return not both_small or names_a_mask(left) or names_a_mask(right)


def _apply(affix: Affix, readings: Sequence[_Reading]) -> Match:
    masks: dict[Path, tuple[Path, ...]] = {}
    problems: dict[Path, str] = {}
    lone: list[Path] = []
    aside: list[Path] = []
    for reading in readings:
        cores = {image: affix.core(name) for image, name in reading.images.items()}
        exact = {
            image: reading.by_stem.get(affix.mask(core), []) if core else []
            for image, core in cores.items()
        }
        numbered = _numbered(affix, reading, cores, exact) if affix.numbered else {}
        for image in reading.images:
            own = exact[image] + numbered.get(image, [])
            if not own:
                problems[image] = "no mask"
            elif len(exact[image]) > 1:
                problems[image] = "several masks: " + ", ".join(mask.name for mask in own)
            else:
                masks[image] = tuple(own)
        rest = _left(reading, [*exact.values(), *numbered.values()])
        by_core = {core: image for image, core in cores.items() if core}
        for stem, files in rest.items():
            kind, image = _relation(stem, affix, by_core, reading)
            if kind == "further":
                named = ", ".join(mask.name for mask in (*masks.pop(image, ()), *files))
                problems[image] = f"several masks: {named}"
            (aside if kind == "aside" else lone).extend(files if kind != "further" else ())
    return Match(masks, problems, tuple(lone), tuple(aside), _shown(affix), _shown_image(affix))


def _left(reading: _Reading, claimed: Sequence[Sequence[Path]]) -> dict[str, list[Path]]:
    used = {mask for own in claimed for mask in own}
    return {stem: files for stem, files in reading.by_stem.items() if not used.intersection(files)}


def _numbered(
    affix: Affix,
    reading: _Reading,
    cores: Mapping[Path, str | None],
    exact: Mapping[Path, Sequence[Path]],
) -> dict[Path, list[Path]]:
    """The masks with a number more, by image.

    Beside a mask without number they count only if the name says that they are masks: "5_1" may
    as well be the mask of another image.
    """
    if not affix.unites and any(exact.values()):
        return {}
    by_core = {core: image for image, core in cores.items() if core}
    claimed = {id(files) for files in exact.values() if files}
    before, after = re.escape(affix.mask_before), re.escape(affix.mask_after)
    apart = NUMBER if affix.mask_after[-1:].isalpha() else r"[ _.(\[-]" + NUMBER
    forms = [rf"{before}(.+){after}{apart}", rf"{before}(.+)[ _.-]\d+{after}"]
    found: dict[Path, list[Path]] = {}
    for stem, files in reading.by_stem.items():
        if id(files) in claimed:
            continue
        for form in forms:
            match = re.fullmatch(form, stem)
            if match and match[1] in by_core:
                found.setdefault(by_core[match[1]], []).extend(files)
                break
    return found


def _relation(
    stem: str, affix: Affix, by_core: Mapping[str, Path], reading: _Reading
) -> tuple[str, Path | None]:
    """What a mask left over is: "further" of an image, "aside", or "lone"."""
    for end in range(len(stem), 0, -1):
        start = stem[:end]
        if not is_cut(start, stem[end:]):
            continue
        core = start[len(affix.mask_before) : len(start) - len(affix.mask_after) or None]
        own = end < len(stem) and core in by_core and affix.mask(core) == start
        known = set(words_of(stem[end:])) & (OTHER_WORDS | OBSERVER_WORDS)
        if own and start in reading.by_stem and not known:
            return "further", by_core[core]
        if own or start in by_core or start in reading.images.values():
            return "aside", None
    return "lone", None


def _extended(
    stem: str, affix: Affix, by_core: Mapping[str, Path], reading: _Reading
) -> Path | None:
    kind, image = _relation(stem, affix, by_core, reading)
    return image if kind == "further" else None


def _apply_known(readings: Sequence[_Reading]) -> Match:
    """Pairs where the four usual forms occur side by side, each image having one of them."""
    masks: dict[Path, tuple[Path, ...]] = {}
    problems: dict[Path, str] = {}
    lone: list[Path] = []
    for reading in readings:
        names = set(reading.images.values())
        claimed: list[list[Path]] = []
        for image, name in reading.images.items():
            forms = [form.mask(name) for form in KNOWN]
            stems = [form for form in forms if form == name or form not in names]
            own = [mask for stem in stems for mask in reading.by_stem.get(stem, [])]
            claimed.append(own)
            if len(own) == 1:
                masks[image] = (own[0],)
            else:
                several = "several masks: " + ", ".join(mask.name for mask in own)
                problems[image] = several if own else "no mask"
        by_core = {name: image for image, name in reading.images.items()}
        for stem, files in _left(reading, claimed).items():
            owners = [image for form in KNOWN if (image := _extended(stem, form, by_core, reading))]
            for image in owners:
                problems[image] = "several masks: " + some(
                    mask.name for mask in (*masks.pop(image, ()), *files)
                )
            lone += files if not owners else ()
    return Match(masks, problems, tuple(lone), (), "{stem}, {stem}_mask, ...")


def _shown(affix: Affix) -> str:
    shared = "{id}" if affix.before or affix.after else "{stem}"
    return f"{affix.mask_before}{shared}{affix.mask_after}{'*' if affix.numbered else ''}"


def _shown_image(affix: Affix) -> str:
    return f"{affix.before}{{id}}{affix.after}" if affix.before or affix.after else "*"

"""How the name of a mask follows from that of its image: what stands around what both share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

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
    def around(self) -> str:
        """What a mask's name has beside the shared part."""
        return f"{self.mask_before} {self.mask_after}"

    @property
    def rank(self) -> int:
        """How surely a name of this form is that of a mask; 0 is surest."""
        if re.fullmatch(r"(png|jpe?g|tiff?|bmp)?", self.around.strip(" .")):
            return 0
        return 1 if names_a_mask(self.around) else 2

    @property
    def unites(self) -> bool:
        """Whether numbered masks beside one without number are further lesions, not observers."""
        return names_a_mask(self.around) and not is_by_observer(self.around)

    @property
    def text(self) -> str:
        """The mask's name as a pattern, for messages."""
        shared = "{id}" if self.before or self.after else "{stem}"
        return f"{self.mask_before}{shared}{self.mask_after}{'*' if self.numbered else ''}"

    @property
    def image_text(self) -> str:
        """The image's name as a pattern, for messages."""
        return f"{self.before}{{id}}{self.after}" if self.before or self.after else "*"


def proposals(pool: Sequence[tuple[str, Collection[str]]]) -> list[Affix]:
    """Rules that at least two images of a sample suggest, or the only one does.

    `pool` holds the name of each image and those of the masks that can be its own.
    """
    samples = pool[:: max(1, len(pool) // SAMPLES)][:SAMPLES]
    votes: Counter[Affix] = Counter()
    for whole in (True, False):  # the image's whole name first, then a part of it
        for name, masks in samples:
            votes.update(set(_suggested(name, masks, whole)))
        if whole and any(count >= len(samples) for count in votes.values()):
            break
    least = min(2, len(samples))
    chosen = [affix for affix, count in votes.most_common(200) if count >= least]
    if len(pool) == 1:
        chosen = [affix for affix in chosen if _is_safe_for_one(affix)]
    return [Affix(), *(affix for affix in chosen if affix != Affix())]


def _is_safe_for_one(affix: Affix) -> bool:
    """Whether what a single image's name has beside the shared part is a word for images."""
    words = set(words_of(f"{affix.before} {affix.after}"))
    return words <= {*IMAGE_WORDS, "im", "training", "train", "test", "0000"}


def _suggested(name: str, masks: Collection[str], whole: bool) -> Iterator[Affix]:
    for start, end in [(0, len(name))] if whole else _runs(name):
        core = name[start:end]
        for stem in masks:
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

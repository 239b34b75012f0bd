"""Pairing by patterns that the user gives: --images GLOB and --masks PATTERN, or dataset.yaml."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.data.sources.names import name_of, same_name
from medseg.errors import UserError

STEM = "stem"  # the image's name without extension, always known
ADVICE = "--images 'images/*.jpg' --masks 'masks/{stem}_mask.png'"
_TOKENS = re.compile(r"(\*\*/|\*\*|\*|\?|\{[^{}/]*\})")


@dataclass(frozen=True)
class Rule:
    """Which files are images, and what the masks of an image are called; None: found by itself.

    Both are paths relative to the data set or to the folder of a part. `*` and `?` stand for any
    text and character within a name, `**/` for any folders, `{x}` in `images` for a text that
    `{x}` in `masks` repeats; `{stem}` is the image's name. An extension may be left out. The parts
    {part} and {group} say just that of an image.
    """

    images: str | None = None
    masks: str | None = None

    def __bool__(self) -> bool:
        return self.images is not None or self.masks is not None

    def over(self, other: Rule) -> Rule:
        """This rule, completed by another where it says nothing."""
        return Rule(self.images or other.images, self.masks or other.masks)

    def check(self) -> None:
        """`UserError` where one pattern is missing or names a part that the other does not."""
        if self.images is None or self.masks is None:
            given, missing = (
                ("--masks", "--images") if self.images is None else ("--images", "--masks")
            )
            raise UserError(
                f"{given} {self.masks if self.images is None else self.images}: {missing} is"
                f" missing; give both, such as {ADVICE}"
            )
        known = {STEM, *_names_in(self.images)}
        used = _names_in(self.masks)
        if not used:
            raise UserError(
                f"--masks {self.masks}: expected {{stem}} or a part of --images, such as {ADVICE}"
            )
        for name in used:
            if name not in known:
                raise UserError(
                    f"--masks {self.masks}: {{{name}}} is no part of --images {self.images}; known:"
                    f" {', '.join(sorted(known))}"
                )


@dataclass(frozen=True)
class Ruled:
    """An image that a rule found, its masks and the captured parts of its path."""

    image: Path
    masks: tuple[Path, ...]
    captured: Mapping[str, str]
    wanted: str  # the path of its mask, as the rule says it


def apply_rule(rule: Rule, root: Path, files: Sequence[Path]) -> tuple[list[Ruled], list[Path]]:
    """The images among `files` with their masks, and masks that belong to none.

    A mask that fits several images, as 10.png fits {stem}* of 1 and 10, belongs to the longest.
    """
    paths = {same_name(file.relative_to(root).as_posix()): file for file in files}
    shape = _regex(_with_suffix(rule.images))
    images = {path: match for path in paths if (match := shape.fullmatch(path))}
    index = _Index(list(paths))
    wanted = {path: _wanted(rule, paths[path], match) for path, match in images.items()}
    owners: dict[str, tuple[int, str]] = {}
    for path, (pattern, weight) in wanted.items():
        for mask in index.find(pattern):
            if mask != path and owners.get(mask, (-1, ""))[0] < weight:
                owners[mask] = weight, path
    own: dict[str, list[Path]] = {}
    for mask, (_, path) in owners.items():
        own.setdefault(path, []).append(paths[mask])
    found = [
        Ruled(paths[path], tuple(own.get(path, ())), match.groupdict(), wanted[path][0])
        for path, match in images.items()
        if path not in owners
    ]
    any_mask = _regex(_with_suffix(re.sub(r"\{[^{}/]*\}", "*", rule.masks)))
    taken = {*owners, *images}
    lone = [file for path, file in paths.items() if path not in taken and any_mask.fullmatch(path)]
    return found, lone


def _wanted(rule: Rule, image: Path, match: re.Match) -> tuple[str, int]:
    """The pattern of an image's masks, and how many of its characters the image has given.

    Wildcards of the rule stay; those in the image's own name are put out of action.
    """
    captured = {STEM: name_of(image)} | match.groupdict()
    weight = 0

    def fill(token: re.Match) -> str:
        nonlocal weight
        value = captured[token[1]]
        weight += len(value)
        return "".join(f"\0{letter}" if letter in "*?{}" else letter for letter in value)

    return re.sub(r"\{([^{}/]*)\}", fill, rule.masks), weight


class _Index:
    """Paths that can be asked by a pattern without looking at each of them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = set(paths)
        self._stems: dict[str, list[str]] = {}
        for path in paths:
            self._stems.setdefault(_without_suffix(path), []).append(path)
        self._sorted = sorted(paths)

    def find(self, pattern: str) -> list[str]:
        """The paths that a pattern of `_wanted` fits."""
        text = pattern.replace("\0", "")
        if not re.search(r"(?<!\0)[*?]", pattern):
            return [text] if text in self._paths else self._stems.get(text, [])
        literal = re.split(r"(?<!\0)[*?]", pattern)[0].replace("\0", "")
        shape = _regex(_with_suffix(pattern))
        start = bisect_left(self._sorted, literal)
        found = []
        for path in self._sorted[start:]:
            if not path.startswith(literal):
                break
            if shape.fullmatch(path):
                found.append(path)
        return found


def _with_suffix(pattern: str) -> str:
    """The pattern with any extension where it has none."""
    return (
        pattern if _without_suffix(pattern) != pattern or pattern.endswith("*") else pattern + ".*"
    )


def _without_suffix(path: str) -> str:
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else path


def _names_in(pattern: str) -> list[str]:
    return [token[1:-1] for token in _TOKENS.findall(pattern) if token.startswith("{")]


def _regex(pattern: str) -> re.Pattern:
    """The regular expression of a pattern over whole paths."""
    seen: set[str] = set()
    return re.compile("".join(_expressions(pattern, seen)))


def _expressions(pattern: str, seen: set[str]) -> Iterator[str]:
    for piece in re.split(r"(\0.)", same_name(pattern)):
        if piece.startswith("\0"):
            yield re.escape(piece[1:])
            continue
        for token in _TOKENS.split(piece):
            if token == "**/":
                yield "(?:[^/]+/)*"
            elif token == "**":
                yield ".*"
            elif token == "*":
                yield "[^/]*"
            elif token == "?":
                yield "[^/]"
            elif token.startswith("{"):
                yield _capture(token[1:-1], seen)
            else:
                yield re.escape(token)


def _capture(name: str, seen: set[str]) -> str:
    if not name.isidentifier():
        raise UserError(f"{{{name}}}: expected a name of letters in braces, such as {{id}}")
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    return f"(?P<{name}>[^/]+?)"

"""How one option is written down, checked and converted.

Flags, YAML keys and Python keywords share these rules.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import UserError, nearest

Size = tuple[int, int]
KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    str: "a text",
}
BOUNDS = {"above": "above", "at_least": "of at least", "at_most": "of at most"}
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Rules(typing.TypedDict, total=False):
    """What an option accepts, and how it is shown.

    `above` is an exclusive lower bound, `at_least` and `at_most` are inclusive; `parse` replaces
    the cast by type, and its docstring says what it expects; a `positional` option has no flag.
    """

    choices: tuple[str, ...]
    above: float | None
    at_least: float | None
    at_most: float | None
    positional: bool
    parse: Callable[[Any], Any] | None
    metavar: str | None


NO_RULES: Rules = {
    "choices": (),
    "above": None,
    "at_least": None,
    "at_most": None,
    "positional": False,
    "parse": None,
    "metavar": None,
}


def option(
    default: Any = dataclasses.MISSING, help: str = "", **rules: typing.Unpack[Rules]
) -> Any:
    """A dataclass field that is also a flag: its default, its help text and its rules."""
    metadata = {"help": help, **NO_RULES, **rules}
    if default is dataclasses.MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Spec:
    """One option of a config class: where it lives, its type and its rules."""

    name: str
    section: str  # the nested dataclass that holds it, "" at the top
    kind: Any
    default: Any
    rules: dict[str, Any]

    @property
    def flag(self) -> str:
        """How the user gives it, such as --base-channels."""
        # a name that Python reserves has an underscore behind it, as `from_` for --from
        name = self.name.rstrip("_").replace("_", "-")
        return self.name if self.rules["positional"] else f"--{name}"

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return isinstance(self.kind, types.UnionType) and type(None) in typing.get_args(self.kind)

    @property
    def bare(self) -> Any:
        """The type without `| None`."""
        if not self.optional:
            return self.kind
        return next(kind for kind in typing.get_args(self.kind) if kind is not type(None))

    @property
    def many(self) -> bool:
        """Whether the option takes several words."""
        return typing.get_origin(self.bare) is tuple and self.rules["parse"] is None

    def convert(self, value: Any) -> Any:
        """The checked value of this option, from a word, a YAML value or a Python object.

        Raises `UserError` if it is wrong.
        """
        says_none = isinstance(value, str) and value.lower() == "none"
        if self.optional and (value is None or says_none):
            return None
        if value is None:
            raise UserError(f"{self.flag}: got nothing, expected {self.expected()}")
        parse = self.rules["parse"]
        try:
            converted = parse(value) if parse else _cast(self.bare, value)
        except (TypeError, ValueError):
            raise self._wrong(value) from None
        self._check(converted)
        return converted

    def expected(self) -> str:
        """The accepted values in words."""
        if self.rules["choices"]:
            return "one of " + ", ".join(self.rules["choices"])
        if self.many:
            words = self._expected_words()
        elif self.rules["parse"]:
            words = self.rules["parse"].__doc__ or ""
        else:
            words = KINDS[self.bare]
        for rule, sign in BOUNDS.items():
            if self.rules[rule] is not None:
                words += f" {sign} {self.rules[rule]:g}"
        return words + (" or none" if self.optional else "")

    def _expected_words(self) -> str:
        """Such as "2 numbers", of an option that takes several."""
        parts = typing.get_args(self.bare)
        plural = KINDS[parts[0]].removeprefix("a ") + "s"
        return plural if parts[-1] is Ellipsis else f"{len(parts)} {plural}"

    def _wrong(self, value: Any, hint: str = "") -> UserError:
        return UserError(f"{self.flag}: got {_show(value)}{hint or ','} expected {self.expected()}")

    def _check(self, value: Any) -> None:
        """Raise `UserError` for a converted value outside the choices or the bounds."""
        choices = self.rules["choices"]
        if choices and value not in choices:
            raise self._wrong(value, nearest(value, choices))
        for each in value if isinstance(value, tuple) else (value,):
            is_number = isinstance(each, (int, float)) and not isinstance(each, bool)
            if is_number and not self._within_bounds(each):
                raise self._wrong(value)

    def _within_bounds(self, number: float) -> bool:
        above, least, most = (self.rules[rule] for rule in BOUNDS)
        if not math.isfinite(number):
            return False
        if above is not None and number <= above:
            return False
        if least is not None and number < least:
            return False
        return most is None or number <= most


def _show(value: Any) -> str:
    """The value as a user would type it."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return repr(value)


def _cast(kind: Any, value: Any) -> Any:
    """`value` as `kind`, strict: 3.5 is not an int, and a bool is not a number."""
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        words = list(value) if isinstance(value, (list, tuple)) else [value]
        if parts[-1] is not Ellipsis and len(words) != len(parts):
            raise ValueError
        return tuple(_cast(parts[0], word) for word in words)
    if isinstance(value, (list, tuple, dict)):
        raise ValueError
    if kind is bool:
        word = str(value).lower()
        if word not in BOOLEANS:
            raise ValueError
        return BOOLEANS[word]
    if kind is Path:
        return Path(value).expanduser()
    if kind is str:
        return str(value)
    if isinstance(value, bool):
        raise ValueError
    if kind is int and isinstance(value, float):
        if value != int(value):
            raise ValueError
        return int(value)
    return kind(value)


def specs(config_class: type) -> Iterator[Spec]:
    """Every option of a config class, including those of its nested sections.

    They come in the order of definition, inherited ones after the class's own.
    """
    hints = typing.get_type_hints(config_class)
    own = config_class.__annotations__
    items = sorted(dataclasses.fields(config_class), key=lambda item: item.name not in own)
    for item in items:
        kind = hints[item.name]
        if dataclasses.is_dataclass(kind):
            for spec in specs(kind):
                yield dataclasses.replace(spec, section=item.name)
        else:
            yield Spec(item.name, "", kind, item.default, dict(item.metadata))


def size(value: Any) -> Size:
    """a whole number of pixels such as 352, or HEIGHTxWIDTH such as 288x384"""
    if isinstance(value, (list, tuple)):
        value = "x".join(map(str, value))
    match = re.fullmatch(r"(\d+)(?:[x,](\d+))?", str(value).strip())
    if not match or int(match[1]) < 1 or int(match[2] or 1) < 1:
        raise ValueError
    return int(match[1]), int(match[2] or match[1])


def duration(value: Any) -> float:
    """a time such as 90s, 30min, 2h or 1h30min"""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{value}s"
    match = re.fullmatch(
        r"(?:([\d.]+)h)?(?:([\d.]+)m(?:in)?)?(?:([\d.]+)s?)?", str(value).strip().replace(" ", "")
    )
    if not match or not any(match.groups()):
        raise ValueError
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if hours * 3600 + minutes * 60 + seconds <= 0:
        raise ValueError
    return hours * 3600 + minutes * 60 + seconds


def whole_numbers(value: Any) -> tuple[int, ...]:
    """different whole numbers joined by commas, such as 0,1,2"""
    words = value if isinstance(value, (list, tuple)) else str(value).split(",")
    numbers = tuple(_cast(int, word) for word in words)
    if not numbers or min(numbers) < 0 or max(numbers) >= 2**31 or len(set(numbers)) < len(numbers):
        raise ValueError
    return numbers


def count_or_auto(value: Any) -> int:
    """a whole number of at least 1, or auto"""
    if str(value).strip().lower() == "auto":
        return 0
    count = _cast(int, value)
    if count < 1:
        raise ValueError
    return count

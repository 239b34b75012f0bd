"""One line of a space file: a config path and its distribution, checked against the options' rules.

A path is an option's name (`lr`), with its section if you like (`optim.lr`). `scale.0` is one
component of an option of several numbers, `loss.dice` the weight of that term in whatever loss the
trial has. A distribution is a list of choices, or a mapping with `low` and `high`, and where wanted
`log: true` or `step`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medseg.config import TrainConfig
from medseg.config.fields import Spec, specs
from medseg.errors import UserError, choose, nearest
from medseg.losses import LOSSES, parse_loss

SECTIONS = ("data", "model", "loss", "distill", "augment", "optim", "training")
FREE_DATA = ("size", "resize")  # the rest of `data` decides which images a trial sees
FIXED = (  # these decide how a trial is evaluated and how long it takes
    "init",
    "teacher",
    "ignore_index",
    "epochs",
    "time_budget",
    "val_interval",
    "val_start",
    "val_batch_size",
    "patience",
    "select",
    "metric",
    "seed",
    "seeds",
)


@dataclass(frozen=True)
class Parameter:
    """One line of a space: choices, or a range from `low` to `high`.

    `choices` are the labels that Optuna keeps, `values` what they stand for.
    """

    path: str
    name: str  # of the option
    part: str  # its component or loss term, "" for the whole option
    choices: tuple[Any, ...] = ()
    values: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices, or both ends of the range."""
        return self.values or (self.low, self.high)

    def suggest(self, trial: Any) -> Any:
        """A value for an Optuna trial."""
        if self.choices:
            return self.named(trial.suggest_categorical(self.path, self.choices))
        if self.whole:
            return trial.suggest_int(
                self.path, int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
            )
        return trial.suggest_float(self.path, self.low, self.high, log=self.log, step=self.step)

    @property
    def is_weight(self) -> bool:
        """Whether it is the weight of a loss term."""
        return self.name == "loss" and bool(self.part)

    def named(self, label: Any) -> Any:
        """What a label stands for; a number of a range stands for itself."""
        return self.values[self.choices.index(label)] if self.choices else label

    def plain(self) -> Any:
        """The line as JSON holds it."""
        if self.choices:
            return list(self.choices)
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}


def parameter(path: str, value: Any) -> Parameter:
    """One line of a space file, checked against the options' rules."""
    spec, part = _resolve(path)
    if isinstance(value, list):
        return _choices(path, spec, part, value)
    if not isinstance(value, Mapping):
        raise UserError(
            f"{path}: got {value!r}, expected a list of choices or a mapping such as {{low: 0.1,"
            " high: 1}"
        )
    for key in value:
        choose(f"key of {path}", str(key), ("low", "high", "log", "step"))
    return _range(path, spec, part, value)


def _resolve(path: str) -> tuple[Spec, str]:
    """The option that a path names, and its component or loss term."""
    known = {spec.name: spec for spec in specs(TrainConfig)}
    words = _without_section(path.replace("-", "_").split("."), known)
    if words[0] not in known:
        hint = nearest(words[0], known) or "; medseg train --help lists them"
        raise UserError(f"{path}: no such option{hint}")
    spec, part = known[words[0]], ".".join(words[1:])
    data_decides = spec.section == "data" and spec.name not in FREE_DATA
    if spec.section not in SECTIONS or spec.name in FIXED or data_decides:
        raise UserError(
            f"{path}: cannot be searched, since trials would not be comparable; give it as a flag"
        )
    if spec.name == "loss" and part:
        return spec, choose(f"{path}: loss", part.replace("_", "-"), LOSSES)
    if part and not _has_component(spec, part):
        expected = spec.name
        if isinstance(spec.default, tuple):
            expected += f" or {spec.name}.0 to {spec.name}.{len(spec.default) - 1}"
        raise UserError(f"{path}: {spec.name} has no part {part!r}; expected {expected}")
    return spec, part


def _without_section(words: list[str], known: Mapping[str, Spec]) -> list[str]:
    """The words of a path without the section before the option; `loss.dice` is a weight."""
    if len(words) < 2 or words[0] not in SECTIONS or words[1] not in known:
        return words
    is_weight = words[0] == "loss" and len(words) == 2 and words[1] in LOSSES
    return words if is_weight or known[words[1]].section != words[0] else words[1:]


def _has_component(spec: Spec, part: str) -> bool:
    """Whether an option of several numbers has the component of this index."""
    several = spec.many and isinstance(spec.default, tuple)
    return several and part.isdigit() and int(part) < len(spec.default)


def _convert(path: str, spec: Spec, part: str) -> Callable[[Any], Any]:
    """How a value of this path is checked."""

    def convert(value: Any) -> Any:
        try:
            if spec.name == "loss":
                if part:
                    parse_loss(f"{float(value)!r}*{part}")
                    return float(value)
                parse_loss(str(value))
            if part:
                whole = list(spec.default)
                whole[int(part)] = value
                return spec.convert(whole)[int(part)]
            return spec.convert(value)
        except (TypeError, ValueError):
            raise UserError(f"{path}: got {value!r}, expected a number") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    return convert


def _choices(path: str, spec: Spec, part: str, listed: list[Any]) -> Parameter:
    """A parameter of a list of choices."""
    if not listed:
        raise UserError(f"{path}: an empty list; expected at least one choice")
    convert = _convert(path, spec, part)
    values = tuple(convert(value) for value in listed)
    labels = tuple(_label(value) for value in values)
    if len({(type(label), label) for label in labels}) < len(labels):
        raise UserError(f"{path}: lists a choice twice")
    return Parameter(path, spec.name, part, choices=labels, values=values)


def _label(value: Any) -> Any:
    """A value that Optuna can keep."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _range(path: str, spec: Spec, part: str, line: Mapping[str, Any]) -> Parameter:
    """A parameter of a range."""
    if "low" not in line or "high" not in line:
        raise UserError(f"{path}: a range needs low and high")
    convert = _convert(path, spec, part)
    low, high = convert(line["low"]), convert(line["high"])
    if not (_is_number(low) and _is_number(high)):
        raise UserError(f"{path}: takes no range; give a list of choices")
    log, step = line.get("log", False), line.get("step")
    if not isinstance(log, bool):
        raise UserError(f"{path}: log is {log!r}, expected true or false")
    if step is not None and (not _is_number(step) or not step > 0 or log):
        raise UserError(
            f"{path}: step is {step!r}, expected a number above 0, and no log beside it"
        )
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and step is not None and step != int(step):
        raise UserError(f"{path}: step is {step!r}, expected a whole number")
    if not low < high or (log and low <= 0):
        raise UserError(
            f"{path}: low is {low!r} and high {high!r}; expected low below"
            f" high{', and above 0 for log' * log}"
        )
    return Parameter(path, spec.name, part, low=low, high=high, log=log, step=step, whole=whole)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

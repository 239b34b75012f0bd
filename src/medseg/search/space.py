"""What a search may vary: config paths with distributions, checked against the schema before the
first trial.

A path is an option's name (`lr`), with its section if you like (`optim.lr`). `scale.0` is one
component of an option of several numbers, `loss.dice` the weight of that term in whatever loss the
trial has. A distribution is a list of choices, or a mapping with `low` and `high`, and where wanted
`log: true` or `step`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import TrainConfig, flatten, make, read_yaml
from medseg.config.fields import Spec, specs
from medseg.errors import UserError, choose, nearest
from medseg.losses import LOSSES, parse_loss
from medseg.training.parts import check

SECTIONS = ("data", "model", "loss", "distill", "augment", "optim", "training")
FREE_DATA = (
    "size",
    "resize",
)  # the rest of `data` says which images: trials would not be comparable
FIXED = (
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
)  # these decide how a trial is judged and how long it takes

# that of the original toolkit's optuna_search.py, whose offsets of the scale became factors, and a
# weight
DEFAULT: dict[str, Any] = {
    "loss": ["ce", "ohem", "ce+dice"],
    "loss.dice": {"low": 0.25, "high": 4.0, "log": True},
    "optimizer": ["sgd", "adam", "adamw"],
    "lr": {"low": 1e-3, "high": 1e-1, "log": True},
    "ema": [0.0, 0.999],
    "scale.0": {"low": 0.2, "high": 0.9},
    "scale.1": {"low": 1.25, "high": 2.5},
    "brightness": {"low": 0.0, "high": 0.9},
    "contrast": {"low": 0.0, "high": 0.9},
    "saturation": {"low": 0.0, "high": 0.9},
    "hflip": {"low": 0.0, "high": 0.5},
    "vflip": {"low": 0.0, "high": 0.5},
}


@dataclass(frozen=True)
class Parameter:
    """One line of a space. `choices` are labels for Optuna, `values` what they stand for; or a
    range from `low` to `high`.
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
            return self.values[
                self.choices.index(trial.suggest_categorical(self.path, self.choices))
            ]
        if self.whole:
            return trial.suggest_int(
                self.path, int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
            )
        return trial.suggest_float(self.path, self.low, self.high, log=self.log, step=self.step)


Space = tuple[Parameter, ...]


def read_space(file: Path | None, base: TrainConfig) -> Space:
    """The space of a YAML file, or the default one; every end of it is tried against the schema and
    `base`.

    Raises `UserError` that names the path, and what is wrong with it.
    """
    where = f"--space {file}" if file else "the default space"
    try:
        lines = read_yaml(file) if file else DEFAULT
        if not lines:
            raise UserError(
                "holds no path; expected lines such as 'lr: {low: 0.0001, high: 0.01, log: true}'"
            )
        space = tuple(parameter(str(path), value) for path, value in lines.items())
        named = [(each.name, each.part) for each in space]
        twice = [each.path for each in space if named.count((each.name, each.part)) > 1]
        if twice:
            raise UserError(f"{twice[-1]}: stands for the same as {twice[0]}; give it once")
        _try_ends(space, base)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return space


def parameter(path: str, value: Any) -> Parameter:
    """One line of a space file, checked against the schema."""
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
    words = path.replace("-", "_").split(".")
    if (
        len(words) > 1
        and words[0] in SECTIONS
        and words[1] in known
        and known[words[1]].section == words[0]
        and not (words[0] == "loss" and len(words) == 2 and words[1] in LOSSES)
    ):
        words = words[1:]
    if words[0] not in known:
        raise UserError(
            f"{path}: no such"
            f" option{nearest(words[0], known) or '; medseg train --help lists them'}"
        )
    spec, part = known[words[0]], ".".join(words[1:])
    if (
        spec.section not in SECTIONS
        or spec.name in FIXED
        or (spec.section == "data" and spec.name not in FREE_DATA)
    ):
        raise UserError(
            f"{path}: cannot be searched, since trials would not be comparable; give it as a flag"
        )
    if spec.name == "loss" and part:
        return spec, choose(f"{path}: loss", part.replace("_", "-"), LOSSES)
    if part and not (
        spec.many
        and part.isdigit()
        and isinstance(spec.default, tuple)
        and int(part) < len(spec.default)
    ):
        raise UserError(
            f"{path}: {spec.name} has no part {part!r}; expected {spec.name}"
            + (
                f" or {spec.name}.0 to {spec.name}.{len(spec.default) - 1}"
                if isinstance(spec.default, tuple)
                else ""
            )
        )
    return spec, part


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
                return spec.convert(
                    [value if i == int(part) else spec.default[i] for i in range(len(spec.default))]
                )[int(part)]
            return spec.convert(value)
        except (TypeError, ValueError):
            raise UserError(f"{path}: got {value!r}, expected a number") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    return convert


def _choices(path: str, spec: Spec, part: str, given: list[Any]) -> Parameter:
    if not given:
        raise UserError(f"{path}: an empty list; expected at least one choice")
    convert = _convert(path, spec, part)
    values = tuple(convert(value) for value in given)
    labels = tuple(
        value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
        for value in values
    )
    if len({(type(label), label) for label in labels}) < len(labels):
        raise UserError(f"{path}: a choice stands twice")
    return Parameter(path, spec.name, part, choices=labels, values=values)


def _range(path: str, spec: Spec, part: str, given: Mapping[str, Any]) -> Parameter:
    convert = _convert(path, spec, part)
    if "low" not in given or "high" not in given:
        raise UserError(f"{path}: a range needs low and high")
    low, high = convert(given["low"]), convert(given["high"])
    if any(isinstance(end, bool) or not isinstance(end, (int, float)) for end in (low, high)):
        raise UserError(f"{path}: takes no range; give a list of choices")
    log, step = given.get("log", False), given.get("step")
    if not isinstance(log, bool):
        raise UserError(f"{path}: log is {log!r}, expected true or false")
    if step is not None and (
        isinstance(step, bool) or not isinstance(step, (int, float)) or not step > 0 or log
    ):
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


def _try_ends(space: Space, base: TrainConfig) -> None:
    """`UserError` where an end of a parameter, or two ends of one option's components, make no
    valid config.
    """
    for name in dict.fromkeys(each.name for each in space):
        group = [each for each in space if each.name == name]
        for values in itertools.product(*(each.ends for each in group)):
            changed = dict(zip((each.path for each in group), values, strict=True))
            try:
                check(configure(base, space, changed))
            except UserError as error:
                text = ", ".join(f"{path} = {value}" for path, value in changed.items())
                raise UserError(f"{text}: {error}") from None


def suggest(space: Space, base: TrainConfig, trial: Any) -> dict[str, Any]:
    """A value for each path that matters: weights only of those terms that the trial's loss has."""
    ordered = sorted(space, key=lambda each: each.name == "loss" and bool(each.part))
    values: dict[str, Any] = {}
    for each in ordered:
        if each.name == "loss" and each.part and each.part not in _terms(space, base, values):
            continue
        values[each.path] = each.suggest(trial)
    return values


def configure(base: TrainConfig, space: Space, values: Mapping[str, Any]) -> TrainConfig:
    """`base` with the values of some paths put in."""
    flat = flatten(base)
    for each in space:
        if each.path not in values or (each.name == "loss" and each.part):
            continue
        if each.part:
            flat[each.name] = [
                values[each.path] if i == int(each.part) else old
                for i, old in enumerate(flat[each.name])
            ]
        else:
            flat[each.name] = values[each.path]
    weights = {
        each.part: values[each.path]
        for each in space
        if each.name == "loss" and each.part and each.path in values
    }
    if weights:
        flat["loss"] = "+".join(
            f"{weights.get(name, weight):.4g}*{name}" for weight, name in parse_loss(flat["loss"])
        )
    return make(TrainConfig, flat)


def _terms(space: Space, base: TrainConfig, values: Mapping[str, Any]) -> list[str]:
    loss = next(
        (
            values[each.path]
            for each in space
            if each.name == "loss" and not each.part and each.path in values
        ),
        base.loss.loss,
    )
    return [name for _, name in parse_loss(loss)]


def named_values(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the labels that Optuna keeps stand for."""
    by_path = {each.path: each for each in space}
    return {
        path: (
            by_path[path].values[by_path[path].choices.index(value)]
            if by_path[path].choices
            else value
        )
        for path, value in params.items()
        if path in by_path
    }


def plain(space: Space) -> dict[str, Any]:
    """The space as JSON holds it: what a continued study must have in common with its start."""
    return {
        each.path: (
            list(each.choices)
            if each.choices
            else {"low": each.low, "high": each.high, "log": each.log, "step": each.step}
        )
        for each in space
    }

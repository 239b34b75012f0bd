"""What a search may vary: config paths with distributions, checked before the first trial."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.config import TrainConfig, flatten, make, read_yaml
from medseg.errors import UserError
from medseg.losses import parse_loss
from medseg.search.distributions import Parameter, parameter
from medseg.training.parts import check

# The space of the original toolkit's optuna_search.py, whose offsets of the scale became factors,
# and the weight of a loss term.
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


Space = tuple[Parameter, ...]


def read_space(file: Path | None, base: TrainConfig) -> Space:
    """The space of a YAML file, or the default one; every end of it is tried with `base`.

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


def _try_ends(space: Space, base: TrainConfig) -> None:
    """`UserError` where ends of an option, or of its components together, make no valid config."""
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
    values: dict[str, Any] = {}
    for each in sorted(space, key=lambda each: each.is_weight):  # weights after the loss itself
        if not each.is_weight or each.part in _terms(space, base, values):
            values[each.path] = each.suggest(trial)
    return values


def configure(base: TrainConfig, space: Space, values: Mapping[str, Any]) -> TrainConfig:
    """`base` with the values of some paths put in."""
    flat = flatten(base)
    weights: dict[str, float] = {}
    for each in space:
        if each.path not in values:
            continue
        value = values[each.path]
        if each.is_weight:
            weights[each.part] = value
        elif each.part:
            flat[each.name] = list(flat[each.name])
            flat[each.name][int(each.part)] = value
        else:
            flat[each.name] = value
    if weights:
        terms = [(weights.get(name, weight), name) for weight, name in parse_loss(flat["loss"])]
        flat["loss"] = "+".join(f"{weight:.4g}*{name}" for weight, name in terms)
    return make(TrainConfig, flat)


def _terms(space: Space, base: TrainConfig, values: Mapping[str, Any]) -> list[str]:
    """The terms of the trial's loss: the searched one, or that of `base`."""
    loss = base.loss.loss
    for each in space:
        if each.name == "loss" and not each.part and each.path in values:
            loss = values[each.path]
    return [name for _, name in parse_loss(loss)]


def named_values(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the labels that Optuna keeps stand for."""
    by_path = {each.path: each for each in space}
    return {path: by_path[path].named(label) for path, label in params.items() if path in by_path}


def plain(space: Space) -> dict[str, Any]:
    """The space as JSON holds it: what a resumed study must have in common with its start."""
    return {each.path: each.plain() for each in space}

"""From a command line, a YAML file or Python keywords to one checked, frozen config.

Precedence: defaults < file < flags. A config file is a command line written down: the same flat
names, the same rules, and a typo gets the same hint in all three.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from medseg.config.fields import Spec, specs
from medseg.errors import UserError, nearest

Config = TypeVar("Config")


def make(config_class: type[Config], values: Mapping[str, Any], where: str = "option") -> Config:
    """A config from flat names and values; dashes and underscores are the same.

    Raises `UserError` for a wrong name or value.
    """
    converted = _check(config_class, values, where)
    for spec in specs(config_class):
        if spec.name not in converted:
            if spec.default is dataclasses.MISSING:
                raise UserError(f"{spec.flag} is missing: {spec.rules['help']}")
            converted[spec.name] = spec.default
    return _build(config_class, converted)


def _check(config_class: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The known names among `values` with their converted values."""
    known = {spec.name: spec for spec in specs(config_class)}
    converted: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise UserError(
                f"unknown {where}"
                f" {key!r}{nearest(name, known) or '; see --help for the known ones'}"
            )
        converted[name] = known[name].convert(value)
    return converted


def _build(config_class: type[Config], flat: dict[str, Any]) -> Config:
    sections: dict[str, dict[str, Any]] = {}
    for spec in specs(config_class):
        sections.setdefault(spec.section, {})[spec.name] = flat[spec.name]
    fields = {item.name: item for item in dataclasses.fields(config_class)}
    nested = {
        name: fields[name].default_factory(**values) for name, values in sections.items() if name
    }
    return config_class(**sections.get("", {}), **nested)


def flatten(config: Any) -> dict[str, Any]:
    """The config as flat names and plain values, such as YAML and JSON hold."""
    flat = {}
    for spec in specs(type(config)):
        value = getattr(getattr(config, spec.section) if spec.section else config, spec.name)
        flat[spec.name] = (
            [_plain(each) for each in value] if isinstance(value, tuple) else _plain(value)
        )
    return flat


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def dump(config: Any) -> str:
    """YAML with a comment line before each section, which `read_yaml` and `make` turn back into an
    equal config.
    """
    flat, lines, section = flatten(config), [], None
    for spec in specs(type(config)):
        if spec.section != section:
            section = spec.section
            lines.append(f"\n# {section}" if section else "")
        value = (
            yaml.safe_dump(flat[spec.name], default_flow_style=True, width=10**6)
            .removesuffix("...\n")
            .strip()
        )
        lines.append(f"{spec.name}: {value}")
    return "\n".join(lines).lstrip() + "\n"


def read_yaml(path: Path) -> dict[str, Any]:
    """The flat mapping of a config file."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the file cannot be read ({error.strerror}); give a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not a YAML file ({' '.join(str(error).split())})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"expected lines such as 'lr: 0.001', got {type(tree).__name__}")
    return tree


def parse(config_class: type[Config], argv: Sequence[str], *, prog: str, about: str) -> Config:
    """The config that a command line stands for; `--help` prints and exits with 0."""
    return make(config_class, arguments(config_class, argv, prog=prog, about=about), where="key")


def arguments(config_class: type, argv: Sequence[str], *, prog: str, about: str) -> dict[str, Any]:
    """Flat names and raw values: those of `--config FILE` first, those of the flags over them."""
    known = {spec.name: spec for spec in specs(config_class)}
    parser = _parser(known.values(), prog=prog, about=about)
    found, extra = parser.parse_known_args(list(argv))
    for word in extra:
        if word.startswith("--"):
            flags = [spec.flag for spec in known.values()]
            raise UserError(
                f"unknown flag {word}{nearest(word.split('=')[0], flags) or f'; see {prog} --help'}"
            )
        raise UserError(f"unexpected argument {word!r}; see {prog} --help")
    flags = vars(found)
    file = flags.pop("config", None)
    if file is None:
        return flags
    try:
        return _check(config_class, read_yaml(Path(file)), where="key") | flags
    except UserError as error:
        raise UserError(f"--config {file}: {error}") from None


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one `UserError` and not a usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to say, in our form."""
        raise UserError(f"{message.removeprefix('argument ')}; see {self.prog} --help")


def _parser(options: Any, *, prog: str, about: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description=about,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups: dict[str, Any] = {}
    sectioned = False
    for spec in options:
        if spec.section and spec.section not in groups:
            groups[spec.section] = parser.add_argument_group(spec.section)
            sectioned = True
        _add(groups.get(spec.section, parser), spec)
    if sectioned:
        parser.add_argument(
            "--config", metavar="FILE", help="YAML file of the same names; flags win over it"
        )
    return parser


def _add(group: Any, spec: Spec) -> None:
    help = spec.rules["help"]
    if (
        spec.default is not dataclasses.MISSING
        and spec.default not in (None, "")
        and not spec.rules["positional"]
    ):
        shown = (
            "x".join(map(str, spec.default))
            if spec.rules["parse"] and isinstance(spec.default, tuple)
            else (
                " ".join(map(str, spec.default))
                if isinstance(spec.default, tuple)
                else spec.default
            )
        )
        help += f" (default: {shown})"
    keywords: dict[str, Any] = {"help": help.replace("%", "%%")}
    if spec.bare is bool:
        group.add_argument(spec.flag, action=argparse.BooleanOptionalAction, **keywords)
        return
    if spec.rules["metavar"]:
        keywords["metavar"] = spec.rules["metavar"]
    elif spec.rules["choices"]:
        keywords["metavar"] = "{" + ",".join(spec.rules["choices"]) + "}"
    elif not spec.rules["positional"]:
        keywords["metavar"] = {int: "N", float: "X", Path: "PATH"}.get(
            spec.bare, "X" if spec.many else "TEXT"
        )
    if spec.many:
        keywords["nargs"] = "+"
        if Path in typing.get_args(spec.bare):  # --teacher A --teacher B is --teacher A B
            keywords["action"] = "extend"
    group.add_argument(spec.flag, **keywords)

"""From a command line, a YAML file or Python keywords to one checked, frozen config.

Precedence: defaults < file < flags. A config file is a command line written down: the same flat
names, the same rules, and a typo gets the same hint in all three.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from medseg.config.fields import Spec, specs
from medseg.errors import UserError, nearest

Config = TypeVar("Config")


def make(config_class: type[Config], values: Mapping[str, Any], where: str = "option") -> Config:
    """A config from flat names and values; dashes and underscores are the same.

    `where` is what a name is called in messages. Raises `UserError` for an unknown name, a wrong
    value or a missing one.
    """
    flat = _check(config_class, values, where)
    for spec in specs(config_class):
        if spec.name not in flat:
            if spec.default is dataclasses.MISSING:
                raise UserError(f"{spec.flag} is missing: {spec.rules['help']}")
            flat[spec.name] = spec.default
    return _build(config_class, flat)


def _check(config_class: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` with their names normalised and their values converted."""
    known = {spec.name: spec for spec in specs(config_class)}
    checked: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if f"{name}_" in known:  # a word that Python reserves
            name = f"{name}_"
        if name not in known:
            hint = nearest(name, known) or "; see --help for the known ones"
            raise UserError(f"unknown {where} {key!r}{hint}")
        checked[name] = known[name].convert(value)
    return checked


def _build(config_class: type[Config], flat: dict[str, Any]) -> Config:
    """The config with each value in the section that holds its option."""
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
        section = getattr(config, spec.section) if spec.section else config
        flat[spec.name] = _plain(getattr(section, spec.name))
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def dump(config: Any) -> str:
    """YAML with a comment line before each section.

    `read_yaml` and `make` turn it back into an equal config.
    """
    flat, lines, section = flatten(config), [], None
    for spec in specs(type(config)):
        if spec.section != section:
            section = spec.section
            lines.append(f"\n# {section}" if section else "")
        value = yaml.safe_dump(flat[spec.name], default_flow_style=True, width=10**6)
        value = value.removesuffix("...\n").strip()  # the dots follow a bare value
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
    if extra:
        word = extra[0]
        if not word.startswith("--"):
            raise UserError(f"unexpected argument {word!r}; see {prog} --help")
        flags = [spec.flag for spec in known.values()]
        hint = nearest(word.split("=")[0], flags) or f"; see {prog} --help"
        raise UserError(f"unknown flag {word}{hint}")
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
        """Raise the message of argparse as a `UserError`."""
        raise UserError(f"{message.removeprefix('argument ')}; see {self.prog} --help")


def _parser(options: Iterable[Spec], *, prog: str, about: str) -> argparse.ArgumentParser:
    """A parser that splits words by flag and leaves every value as text."""
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


def _add(group: argparse._ActionsContainer, spec: Spec) -> None:
    """Add the flag of an option to a parser, or to a group of one."""
    keywords: dict[str, Any] = {"help": _help(spec).replace("%", "%%")}
    if spec.bare is bool:
        group.add_argument(spec.flag, action=argparse.BooleanOptionalAction, **keywords)
        return
    metavar = _metavar(spec)
    if metavar:
        keywords["metavar"] = metavar
    if spec.many:
        optional = spec.rules["positional"] and spec.default is not dataclasses.MISSING
        keywords["nargs"] = "*" if optional else "+"
        if Path in typing.get_args(spec.bare):  # --teacher A --teacher B is --teacher A B
            keywords["action"] = "extend"
    group.add_argument(spec.flag, **keywords)


def _help(spec: Spec) -> str:
    """The help text of an option with its default, where the text does not name it itself."""
    default = spec.default
    hidden = spec.rules["positional"] or default is dataclasses.MISSING or default in (None, "", ())
    if hidden:
        return spec.rules["help"]
    if isinstance(default, tuple):
        default = ("x" if spec.rules["parse"] else " ").join(map(str, default))
    return f"{spec.rules['help']} (default: {default})"


def _metavar(spec: Spec) -> str | None:
    """What stands for the value in the help; None for a positional option without one."""
    if spec.rules["metavar"]:
        return spec.rules["metavar"]
    if spec.rules["choices"]:
        return "{" + ",".join(spec.rules["choices"]) + "}"
    if spec.rules["positional"]:
        return None
    names = {int: "N", float: "X", Path: "PATH"}
    return names.get(spec.bare, "X" if spec.many else "TEXT")

"""The `medseg` command. A verb is a line in `VERBS`; nothing heavy is imported before it runs."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from medseg import config as options
from medseg.config import arguments, make
from medseg.config.shared import Reading
from medseg.console import log_to_stderr, print_any_name, print_json
from medseg.errors import Interrupted, UserError, nearest
from medseg.version import __version__

Arguments = Sequence[str]


@dataclass(frozen=True)
class Verb:
    """One command. Functions are named "module:function", and imported when they are needed.

    `run` takes the config, of the type `config`, and returns a result; `show(result, config)`
    prints it where --json does not. `failed` is whether a result means exit code 1. `read` makes
    the config from flat values where that takes more than `make`; `resume` says how to resume what
    was stopped.
    """

    config: type
    run: str
    show: str = ""
    failed: Callable[[Any], bool] = lambda result: False
    read: str = ""
    resume: str = ""

    @property
    def about(self) -> str:
        """What the command does; the first line stands alone."""
        return inspect.getdoc(self.config) or ""


DATA = {
    "list": Verb(
        options.CatalogConfig,
        "medseg.data.sources.catalog:list_datasets",
        show="medseg.data.sources.catalog:show_datasets",
    ),
    "prepare": Verb(
        options.PrepareConfig,
        "medseg.data.sources.prepare:run_prepare",
        show="medseg.cli:show_path",
    ),
    "convert": Verb(
        options.ConvertConfig,
        "medseg.annotations.convert:run_convert",
        show="medseg.annotations.convert:show",
    ),
    "synthesize": Verb(
        options.SynthesizeConfig,
        "medseg.data.synthetic.synthesize:run_synthesize",
        show="medseg.cli:show_path",
    ),
    "check": Verb(
        options.CheckConfig,
        "medseg.doctor.check:check",
        show="medseg.doctor.text:show",
        failed=lambda report: bool(report["found"]),
    ),
    "leaks": Verb(
        options.LeaksConfig,
        "medseg.leaks.find:find_leaks",
        show="medseg.leaks.find:show",
        failed=lambda result: result["leaks"],
    ),
    "split": Verb(options.SplitConfig, "medseg.leaks.folds:split", show="medseg.leaks.folds:show"),
}
VERBS: dict[str, Verb | dict[str, Verb]] = {
    "train": Verb(
        options.TrainConfig,
        "medseg.training.repeat:train",
        read="medseg.training.resume:config_from",
        resume="resume with: medseg train --resume {}",
    ),
    "evaluate": Verb(
        options.EvaluateConfig,
        "medseg.reports.evaluation:evaluate_with_report",
        show="medseg.reports.tables:show",
    ),
    "calibrate": Verb(options.CalibrateConfig, "medseg.evaluation.calibrate:calibrate"),
    "predict": Verb(
        options.PredictConfig,
        "medseg.inference.predict:predict",
        failed=lambda result: bool(result["failed"]),
    ),
    "export": Verb(
        options.ExportConfig,
        "medseg.export.export:export",
        show="medseg.export.export:show",
        failed=lambda result: bool(result["failed"]),
    ),
    "compare": Verb(
        options.CompareConfig,
        "medseg.comparison.compare:compare",
        show="medseg.comparison.tables:show",
    ),
    "lint": Verb(
        options.LintConfig,
        "medseg.comparison.lint:run_lint",
        show="medseg.comparison.lint:show",
        failed=lambda result: bool(result["impossible"]),
    ),
    "search": Verb(
        options.SearchConfig,
        "medseg.search.search:search",
        read="medseg.search.search:config_from",
        resume="run the same command again to resume the study",
    ),
    "models": Verb(
        options.ModelsConfig, "medseg.models:list_models", show="medseg.models:show_models"
    ),
    "data": DATA,
    "bench": Verb(options.BenchConfig, "medseg.bench.bench:bench"),
}
ABOUT_DATA = (
    "List known data sets, prepare, convert or synthesize one, check it for faults, find leaks"
    " between parts, divide it into folds."
)


def main(argv: Arguments | None = None) -> int:
    """Run one verb.

    Exit code 0: done, 1: some inputs failed, 2: wrong use, 130: stopped by the user.
    """
    # waiting threads of OpenMP spin for milliseconds: with one more busy process around, training
    # takes several times longer
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    log_to_stderr()
    print_any_name()
    first = os.environ.get("RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"
    if not first:  # the first process speaks for all
        from loguru import logger

        logger.remove()
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        _check_encoding(words)
        return _dispatch("medseg", VERBS, words)
    except UserError as error:
        if first:
            print(f"medseg: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("medseg: stopped", file=sys.stderr)
        return 130


def _check_encoding(words: Arguments) -> None:
    """`UserError` for a name that is no UTF-8: no config, list or report can hold it."""
    wrong = next((word for word in words if re.search("[\udc80-\udcff]", word)), None)
    if wrong:
        raise UserError(f"{wrong!r}: this name is no UTF-8; give the file or folder another name")


def _dispatch(prog: str, verbs: Mapping[str, Verb | dict[str, Verb]], argv: list[str]) -> int:
    """Run the verb that the first argument names, with the other arguments."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(prog, verbs))
        return 0 if argv else 2
    if argv[0] == "--version" and prog == "medseg":
        print(f"medseg {__version__}")
        return 0
    if argv[0] not in verbs:
        hint = nearest(argv[0], verbs) or "."
        raise UserError(f"unknown verb {argv[0]!r}{hint} Choose from: {', '.join(verbs)}.")
    verb = verbs[argv[0]]
    name = f"{prog} {argv[0]}"
    return _dispatch(name, verb, argv[1:]) if isinstance(verb, dict) else _run(name, verb, argv[1:])


def _overview(prog: str, verbs: Mapping[str, Verb | dict[str, Verb]]) -> str:
    """A line per verb."""
    width = max(map(len, verbs))
    lines = [f"usage: {prog} VERB ...", ""]
    for name, verb in verbs.items():
        about = ABOUT_DATA if isinstance(verb, dict) else verb.about.splitlines()[0]
        lines.append(f"  {name:{width}}  {about}")
    return "\n".join([*lines, "", f"'{prog} VERB --help' shows its options."])


def _run(name: str, verb: Verb, argv: Arguments) -> int:
    """Make the config of a verb, run it, print its result; returns the exit code."""
    values = arguments(verb.config, argv, prog=name, about=verb.about)
    config = _function(verb.read)(values) if verb.read else make(verb.config, values, where="key")
    _limit_pixels(config)
    try:
        result = _function(verb.run)(config)
    except Interrupted as stopped:
        print(f"medseg: stopped; {verb.resume.format(stopped)}", file=sys.stderr)
        return 130
    as_json = getattr(getattr(config, "search", config), "json", False)
    if as_json:
        if result:  # a worker of a search has none
            print_json(result)
    elif verb.show:
        _function(verb.show)(result, config)
    return 1 if verb.failed(result) else 0


def _limit_pixels(config: Any) -> None:
    """Put --max-pixels into force if the verb reads images."""
    for section in (config, getattr(config, "data", None)):
        if isinstance(section, Reading):
            _function("medseg.data.decode:set_max_pixels")(section.max_pixels)


def _function(name: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, function = name.split(":")
    return getattr(import_module(module), function)


def show_path(path: Any, config: Any) -> None:
    """Print where something was written."""
    print(path)


if __name__ == "__main__":
    raise SystemExit(main())

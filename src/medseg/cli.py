"""The `medseg` command. A verb is a line in `VERBS`; nothing heavy is imported before its function
runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from medseg.console import log_to_stderr, print_json
from medseg.errors import UserError, nearest
from medseg.version import __version__

Arguments = Sequence[str]


def train(argv: Arguments) -> int:
    """Train a network; judge the best weights on validation and, once, on test."""
    from medseg.config import TrainConfig, arguments

    values = arguments(TrainConfig, argv, prog="medseg train", about=_about(train))
    from medseg.training.loop import Interrupted
    from medseg.training.repeat import train as run
    from medseg.training.resume import config_from

    try:
        run(config_from(values))
    except Interrupted as stopped:
        print(f"medseg: stopped; go on with: medseg train --resume {stopped}", file=sys.stderr)
        return 130
    return 0


def evaluate(argv: Arguments) -> int:
    """Judge a run, or a folder of predictions, at the native resolution of each mask."""
    from medseg.config import EvaluateConfig, parse

    config = parse(EvaluateConfig, argv, prog="medseg evaluate", about=_about(evaluate))
    from medseg.reports.evaluation import evaluate_with_report as run

    summary = run(config)
    if config.json:
        print_json(summary)
    else:
        _evaluation(summary)
    return 0


def _evaluation(summary: dict) -> None:
    """Print what summary.json holds."""
    from medseg.reports.tables import lines, tables

    for title, rows in tables(summary):
        if rows:
            _table(title, rows)
    for line in lines(summary):
        print(line)


def calibrate(argv: Arguments) -> int:
    """Fit the temperature of a run's probabilities on its validation part and store it with the
    run.
    """
    from medseg.config import CalibrateConfig, parse

    config = parse(CalibrateConfig, argv, prog="medseg calibrate", about=_about(calibrate))
    from medseg.evaluation.calibrate import calibrate as run

    result = run(config)
    if config.json:
        print_json(result)
    return 0


def compare(argv: Arguments) -> int:
    """Say which of several runs differ on the same images: paired tests, intervals, a page with
    forest plots.
    """
    from medseg.config import CompareConfig, parse

    config = parse(CompareConfig, argv, prog="medseg compare", about=_about(compare))
    from medseg.comparison.compare import compare as run
    from medseg.comparison.tables import pair_rows, run_rows

    document = run(config)
    if config.json:
        print_json(document)
        return 0
    _table(f"{document['metric']}, {document['n_images']} images", run_rows(document))
    _table("pairs; p values after Holm", pair_rows(document))
    for note in document["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"{document['out']}/compare.html")
    return 0


def lint(argv: Arguments) -> int:
    """Check a table of published results against arithmetic; exit code 1 when a pair of Dice and
    IoU is impossible.
    """
    from medseg.config import LintConfig, parse

    config = parse(LintConfig, argv, prog="medseg lint", about=_about(lint))
    from medseg.comparison.lint import lint as run

    result = run(config.table)
    if config.json:
        print_json(result)
    else:
        _table(str(config.table), result["rows"])
        print(result["meaning"])
        if result["skipped"]:
            print(f"left out, as they hold no numbers: {result['skipped']} pairs of cells")
    return 1 if result["impossible"] else 0


def predict(argv: Arguments) -> int:
    """Write the masks that a run predicts for images of any size and format."""
    from medseg.config import PredictConfig, parse

    config = parse(PredictConfig, argv, prog="medseg predict", about=_about(predict))
    from medseg.inference.predict import predict as run

    result = run(config)
    if config.json:
        print_json(result)
    return 1 if result["failed"] else 0


def search(argv: Arguments) -> int:
    """Search for better options of a training, by validation alone; retrain and test the best once."""
    from medseg.config import SearchConfig, arguments, make

    values = arguments(SearchConfig, argv, prog="medseg search", about=_about(search))
    if values.get("dashboard"):  # it needs no images
        values.setdefault("data", "none")
    config = make(SearchConfig, values)
    from medseg.search.search import search as run
    from medseg.training.loop import Interrupted

    try:
        result = run(config)
    except Interrupted:
        print("medseg: stopped; the same command goes on with the study", file=sys.stderr)
        return 130
    if config.search.json and result:
        print_json(result)
    return 0


def models(argv: Arguments) -> int:
    """Describe the networks: parameters, multiply-adds at 320x320, paper."""
    from medseg.config import ListConfig, parse

    config = parse(ListConfig, argv, prog="medseg models", about=_about(models))
    from medseg.models import model_table

    rows = model_table()
    if config.json:
        print_json(rows)
    else:
        _table("networks at 3 input channels, 2 classes", rows)
    return 0


def data(argv: Arguments) -> int:
    """List known data sets, prepare or synthesize one, check it for faults, find leaks between
    parts, divide it into folds.
    """
    verbs = {
        "list": data_list,
        "prepare": data_prepare,
        "synthesize": data_synthesize,
        "check": data_check,
        "leaks": data_leaks,
        "split": data_split,
    }
    return _dispatch("medseg data", verbs, argv)


def data_list(argv: Arguments) -> int:
    """Show the known data sets: homepage, licence, citation, what to download, splits."""
    from medseg.config import ListConfig, parse

    config = parse(ListConfig, argv, prog="medseg data list", about=_about(data_list))
    from medseg.data.sources.catalog import catalog_table

    rows = catalog_table()
    if config.json:
        print_json(rows)
        return 0
    for row in rows:
        print(row["name"])
        for key, value in row.items():
            if key != "name" and value:
                print(f"  {key}: {', '.join(value) if isinstance(value, list) else value}")
    return 0


def data_prepare(argv: Arguments) -> int:
    """Turn a data set as distributed into the layout
    PolypDataset/NAME/{train,validation,test}/{images,masks}.
    """
    from medseg.config import PrepareConfig, parse
    from medseg.console import progress

    config = parse(PrepareConfig, argv, prog="medseg data prepare", about=_about(data_prepare))
    from medseg.data.sources.prepare import prepare

    with progress("prepare", show=config.progress) as advance:
        print(
            prepare(
                config.name, config.source, out=config.out, split=config.split, progress=advance
            )
        )
    return 0


def data_synthesize(argv: Arguments) -> int:
    """Generate colonoscopy-like scenes with polyps, divided into train, validation and test."""
    from medseg.config import SynthesizeConfig, parse
    from medseg.console import progress

    config = parse(
        SynthesizeConfig, argv, prog="medseg data synthesize", about=_about(data_synthesize)
    )
    from medseg.data.synthetic.synthesize import synthesize

    with progress("synthesize", show=config.progress) as advance:
        synthesize(
            config.out, images=config.images, size=config.size, seed=config.seed, progress=advance
        )
    print(config.out)
    return 0


def data_check(argv: Arguments) -> int:
    """Look for faults in a data set; exit code 1 when there are some."""
    from medseg.config import CheckConfig, parse
    from medseg.console import progress

    config = parse(CheckConfig, argv, prog="medseg data check", about=_about(data_check))
    from medseg.doctor.check import check
    from medseg.doctor.text import lines, summary

    with progress("check", show=config.progress) as advance:
        report = check(
            config.data,
            data_root=config.data_root,
            split=config.split,
            mask_kind=config.mask_kind,
            classes=config.classes,
            bit_depth=config.bit_depth,
            fix=config.fix,
            workers=config.workers,
            ignore=[code.strip() for code in config.ignore.split(",") if code.strip()],
            progress=advance,
        )
    if config.json:
        print_json(report)
    elif config.list:
        for line in lines(report):
            print(line)
    else:
        print("\n".join(summary(report)))
        if report["found"]:
            _table(
                f"faults of {report['data']} (docs/data-check.md has a section for each code)",
                report["found"],
            )
    return 1 if report["found"] else 0


def data_leaks(argv: Arguments) -> int:
    """Find copies, views of the same scene, and sequences or patients within and between parts; 1
    if parts leak.
    """
    from medseg.config import LeaksConfig, parse

    config = parse(LeaksConfig, argv, prog="medseg data leaks", about=_about(data_leaks))
    from medseg.leaks.find import find_leaks, rows

    result = find_leaks(config)
    if config.json:
        print_json(result)
    else:
        _table(f"{result['data']} ({result['split']}): {result['images']} images", rows(result))
    return 1 if result["leaks"] else 0


def data_split(argv: Arguments) -> int:
    """Divide a data set into folds that keep video sequences or patients together."""
    from medseg.config import SplitConfig, parse

    config = parse(SplitConfig, argv, prog="medseg data split", about=_about(data_split))
    from medseg.leaks.folds import split

    result = split(config)
    if config.json:
        print_json(result)
    else:
        _table(f"{result['data']}: {result['scheme']}", result["folds"])
    return 0


def bench(argv: Arguments) -> int:
    """Measure training, prediction or feeding on this machine against the plain way of doing the
    same.
    """
    from medseg.config import BenchConfig, parse

    config = parse(BenchConfig, argv, prog="medseg bench", about=_about(bench))
    from medseg.bench.bench import bench as run

    result = run(config)
    if config.json:
        print_json(result)
    return 0


VERBS: dict[str, Callable[[Arguments], int]] = {
    "train": train,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "predict": predict,
    "compare": compare,
    "lint": lint,
    "search": search,
    "models": models,
    "data": data,
    "bench": bench,
}


def main(argv: Arguments | None = None) -> int:
    """Run one verb. Exit code 0: done, 1: some inputs failed, 2: wrong use, 130: stopped by the
    user.
    """
    # waiting threads of OpenMP spin for milliseconds: with one more busy process around, training
    # takes several times longer
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    log_to_stderr()
    first = os.environ.get("RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"
    if not first:  # the first process speaks for all
        from loguru import logger

        logger.remove()
    try:
        return _dispatch("medseg", VERBS, list(sys.argv[1:] if argv is None else argv))
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


def _dispatch(prog: str, verbs: dict[str, Callable[[Arguments], int]], argv: Arguments) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, verbs))
        print(
            f"usage: {prog} VERB ...\n\n"
            + "\n".join(f"  {name:{width}}  {_about(verb)}" for name, verb in verbs.items())
            + f"\n\n'{prog} VERB --help' shows the options of a verb."
        )
        return 0 if argv else 2
    if argv[0] == "--version" and prog == "medseg":
        print(f"medseg {__version__}")
        return 0
    if argv[0] not in verbs:
        raise UserError(
            f"unknown verb {argv[0]!r}{nearest(argv[0], verbs) or '.'} Choose from:"
            f" {', '.join(verbs)}."
        )
    return verbs[argv[0]](argv[1:])


def _about(verb: Callable[[Arguments], int]) -> str:
    return (verb.__doc__ or "").strip()


def _table(title: str, rows: Sequence[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for key in rows[0]:
        table.add_column(
            key.replace("_", " "), justify="left" if isinstance(rows[0][key], str) else "right"
        )
    for row in rows:
        table.add_row(
            *(
                (
                    f"{v:.4f}"
                    if isinstance(v, float) and abs(v) < 1
                    else f"{v:,}"
                    if isinstance(v, int)
                    else "–"
                    if v is None
                    else str(v)
                )
                for v in row.values()
            )
        )
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())

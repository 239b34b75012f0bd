"""The options of `medseg evaluate` and of what follows it: calibrate, compare, lint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import option
from medseg.config.shared import (
    Compute,
    ForeignFile,
    Json,
    Masks,
    Overwrite,
    Pages,
    PairingRule,
    Progress,
    Reading,
    Threads,
    Threshold,
)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(
    PairingRule,
    ForeignFile,
    Threshold,
    Compute,
    Threads,
    Masks,
    Pages,
    Reading,
    Overwrite,
    Json,
    Progress,
):
    """Evaluate a run, an exported file or a folder of predictions, at native resolution."""

    run: Path = option(
        help="run folder, checkpoint, exported file, or folder of predictions (masks or maps)",
        positional=True,
    )
    references: Path | None = option(
        None,
        "folder of reference masks for a folder of predictions, instead of --data",
        metavar="DIR",
    )
    protocols: str = option(
        "basic",
        "basic: three conventions; all: also those of published tables, distances, lesions and"
        " calibration",
        choices=("basic", "all"),
    )
    spacing: tuple[float, float] = option(
        (1.0, 1.0), "height and width of a pixel, for distances", above=0
    )
    tolerance: float = option(
        2.0, "surface Dice: distance that counts as a match, in the unit of --spacing", at_least=0
    )
    data: str | None = option(
        None,
        "another data set, or the new place of the run's own (default: where it was)",
        metavar="NAME|PATH",
    )
    data_root: Path | None = option(
        None, "where known data sets are (default: the run's own)", metavar="DIR"
    )
    split: str | None = option(None, "its split (default: the run's own)", metavar="NAME|DIR")
    split_part: str = option(
        "test", "part to evaluate", choices=("train", "validation", "test", "all")
    )
    accept_empty: bool = option(
        False, "accept a folder of predictions of which none, or all, are foreground everywhere"
    )
    out: Path | None = option(
        None,
        "folder of the results (default: RUN/evaluate/DATA-SPLIT-PART, or below FILE.results)",
        metavar="DIR",
    )


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(PairingRule, Compute, Threads, Masks, Reading, Json, Progress):
    """Fit the temperature of a run's probabilities on its validation part; store it in the run."""

    run: Path = option(help="run folder or checkpoint", positional=True)
    data: str | None = option(
        None, "the new place of the run's own data (default: where they were)", metavar="NAME|PATH"
    )
    data_root: Path | None = option(
        None, "where known data sets are (default: the run's own)", metavar="DIR"
    )


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Overwrite, Json):
    """Compare runs on the same images: paired tests, intervals, a page with forest plots."""

    runs: tuple[Path, ...] = option(
        help="run folders, or folders that 'medseg evaluate --out' wrote",
        positional=True,
        metavar="RUN",
    )
    split_part: str = option(
        "test", "part on which run folders are compared", choices=("train", "validation", "test")
    )
    metric: str = option("dice", "column of per_image.csv to compare")
    out: Path | None = option(
        None, "folder for compare.html and compare.json (default: runs/compare-TIME)", metavar="DIR"
    )


@dataclass(frozen=True, kw_only=True)
class LintConfig(Json):
    """Check published pairs of Dice and IoU; exit code 1 when a pair is impossible."""

    table: Path = option(
        help="CSV file with columns for Dice and IoU of the same results",
        positional=True,
        metavar="TABLE.csv",
    )

"""The options of `medseg predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import option
from medseg.config.shared import (
    Compute,
    ForeignFile,
    Json,
    Overwrite,
    Progress,
    Reading,
    Threads,
    Threshold,
)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(ForeignFile, Threshold, Compute, Threads, Reading, Overwrite, Json, Progress):
    """Write the masks that a run or an exported file predicts for images of any size and format."""

    run: Path = option(help="run folder, checkpoint or exported file", positional=True)
    images: tuple[str, ...] = option(
        help="images or folders of images", positional=True, metavar="IMAGE|FOLDER"
    )
    out: Path = option(help="folder of the results", metavar="DIR")
    save: str = option(
        "mask,overlay", "what to write: mask, overlay, probability, separated by commas"
    )
    pages: str = option(
        "first",
        "of files that hold several pictures, such as TIFF stacks: the first, or all of them, each"
        " with results of its own",
        choices=("first", "all"),
    )
    alpha: float = option(0.3, "opacity of the overlay", at_least=0, at_most=1)

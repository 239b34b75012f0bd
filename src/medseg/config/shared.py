"""Options that several commands share, each written once; a command's config inherits them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.choices import ACCELERATORS, MASK_KINDS, PRECISIONS
from medseg.config.fields import option

MAX_PIXELS = 250_000_000


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files are read."""

    max_pixels: int = option(
        MAX_PIXELS,
        "refuse images with more pixels than this, by the size in their header, before decoding",
        at_least=1,
    )


@dataclass(frozen=True, kw_only=True)
class Masks:
    """What the values of masks mean; by default it is recognised over the whole set, and said."""

    mask_kind: str = option(
        "auto",
        "how masks are coded; auto: recognised; binary: every value above 0 is foreground",
        choices=MASK_KINDS,
    )
    classes: int = option(
        0,
        "number of classes including the background; 0: as many as the masks hold",
        at_least=0,
        at_most=255,
    )
    class_map: tuple[str, ...] = option(
        (),
        "the class of each stored value, such as 0=0 38=1 255=ignore, or of a class name",
        metavar="VALUE=CLASS",
    )
    ignore_index: tuple[int, ...] = option(
        (),
        "stored values that neither loss nor metrics count; 255 beside classes is recognised",
        at_least=0,
        at_most=65535,
    )
    mask_colours: tuple[str, ...] = option(
        (),
        "the colour of each class in coloured masks, the background first, such as 0,0,0 255,0,0",
        metavar="R,G,B",
    )


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What of files with several pictures is read."""

    pages: str | None = option(
        None,
        "of files that hold several pictures, such as TIFF stacks: the first, or all of them, each"
        " an image of its own (default: first, or as dataset.yaml says)",
        choices=("first", "all"),
    )


@dataclass(frozen=True, kw_only=True)
class Threads:
    """Threads for files."""

    workers: int = option(
        0, "threads that read and write images; 0: one per core", at_least=0, at_most=256
    )


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how a trained network runs."""

    batch_size: int = option(8, "images per step", at_least=1)
    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    precision: str = option("auto", "arithmetic", choices=PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class ForeignFile:
    """How to use an exported file that another tool wrote."""

    preprocessing: Path | None = option(
        None,
        "YAML file that says how images are prepared for an .onnx, .xml or .pt2 file of another"
        " tool (docs/export.md)",
        metavar="FILE.yaml",
    )


@dataclass(frozen=True, kw_only=True)
class PairingRule:
    """Which mask belongs to which image, where their names do not show it."""

    images: str | None = option(
        None,
        "which files are images, relative to the data set: * for any text, {id} for a part of the"
        " name that --masks repeats (default: found from the names)",
        metavar="GLOB",
    )
    masks: str | None = option(
        None,
        "how the masks of an image are called, such as 'masks/{stem}_mask.png'; several are united",
        metavar="PATTERN",
    )


@dataclass(frozen=True, kw_only=True)
class KnownData(PairingRule):
    """A data set to look at; it is only read."""

    data: str = option(
        help="data set: a known name ('medseg data list') or a folder",
        positional=True,
        metavar="NAME|PATH",
    )
    data_root: Path = option(Path("data"), "where known data sets are", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is shown meanwhile."""

    progress: bool = option(True, "show a progress bar")


@dataclass(frozen=True, kw_only=True)
class Json:
    """What is printed at the end."""

    json: bool = option(False, "print the result as one JSON document")


@dataclass(frozen=True, kw_only=True)
class Overwrite:
    """What happens to earlier results."""

    overwrite: bool = option(False, "replace results that --out already holds")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """How probabilities become a mask."""

    threshold: float = option(
        0.5,
        "a pixel is foreground where its foreground probability is at least this (2 classes)",
        above=0,
        at_most=1,
    )

"""The options of `medseg data ...` and of `medseg models`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import option
from medseg.config.shared import (
    Json,
    KnownData,
    Masks,
    Overwrite,
    Pages,
    PairingRule,
    Progress,
    Reading,
    Threads,
)


@dataclass(frozen=True, kw_only=True)
class ModelsConfig(Json):
    """Describe the networks: parameters, multiply-adds at 320x320, paper."""


@dataclass(frozen=True, kw_only=True)
class CatalogConfig(Json):
    """Show the known data sets: homepage, licence, citation, what to download, splits."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(PairingRule, Reading, Progress):
    """Turn a data set as distributed into PolypDataset/NAME/PART/{images,masks}."""

    name: str = option(help="known data set; see 'medseg data list'", positional=True)
    source: Path = option(help="archive or folder as distributed; it is only read", positional=True)
    out: Path = option(help="folder that gets PolypDataset/", metavar="DIR")
    split: str | None = option(None, "split scheme (default: the recommended one)", metavar="NAME")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(Threads, Reading, Overwrite, Json, Progress):
    """Turn annotations (COCO, LabelMe, YOLO, CVAT, ...) into masks that medseg trains on."""

    source: Path = option(help="annotations, with their images; only read", positional=True)
    out: Path = option(help="new folder of images, masks and dataset.yaml", metavar="DIR")
    from_: str = option(
        "", "the format, where it is not recognised: coco, labelme, yolo, ...", metavar="FORMAT"
    )
    images: Path | None = option(
        None, "folder of the images (default: beside and below the annotations)", metavar="DIR"
    )
    classes: tuple[str, ...] = option(
        (), "names of the classes to take, in this order (default: all)", metavar="NAME"
    )
    rename: tuple[str, ...] = option((), "change labels; two may become one", metavar="OLD=NEW")
    ignore: tuple[str, ...] = option(
        (), "labels whose pixels are not counted (255 in the masks)", metavar="NAME"
    )
    binary: bool = option(False, "make one class of all")
    unannotated: str = option(
        "refuse",
        "images without an object: negative (they show nothing) or skip (they were forgotten)",
        choices=("refuse", "negative", "skip"),
    )
    missing: str = option(
        "refuse", "annotated images that are not there", choices=("refuse", "skip")
    )
    overlap: str = option(
        "last",
        "which of two overlapping classes wins; last: the one drawn above",
        choices=("last", "first", "larger", "smaller", "error"),
    )
    crowd: str = option(
        "ignore",
        "COCO's crowds, regions of unseparated objects",
        choices=("ignore", "foreground", "drop"),
    )
    boxes: str = option(
        "refuse", "objects with a box and no outline", choices=("refuse", "fill", "skip")
    )
    coordinates: str = option(
        "format",
        "whether whole numbers are corners or centres of pixels; centres: as cv2.findContours"
        " gives them",
        choices=("format", "corners", "centres"),
    )
    attribute: str = option("", "the attribute that holds the class (VIA, GeoJSON)", metavar="NAME")
    colours: str = option(
        "", 'the classes by colour: "255,0,0=polyp;..." or a file', metavar="TEXT|FILE"
    )


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig(Progress):
    """Generate colonoscopy-like scenes with polyps, divided into train, validation and test."""

    out: Path = option(help="new folder", positional=True)
    images: int = option(200, "images in all", at_least=9)
    size: int = option(256, "height in pixels", at_least=64, at_most=2048)
    seed: int = option(0, "seed; the same seed gives the same files", at_least=0, at_most=2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class CheckConfig(KnownData, Pages, Threads, Masks, Reading, Json, Progress):
    """Look for faults in a data set; exit code 1 when there are some."""

    split: str | None = option(
        None, "check the images of this split, and whether its parts share any", metavar="NAME|DIR"
    )
    bit_depth: int = option(16, "significant bits of 16-bit images", at_least=8, at_most=16)
    ignore: str = option("", "codes to skip, separated by commas, such as MS009,MS011")
    fix: Path | None = option(None, "write a repaired copy to this new folder", metavar="DIR")
    list: bool = option(False, "print one line per finding instead of one per code")


@dataclass(frozen=True, kw_only=True)
class LeaksConfig(KnownData, Pages, Threads, Reading, Overwrite, Json, Progress):
    """Find copies, scenes, sequences and patients shared by parts; exit code 1 when parts leak."""

    split: str | None = option(
        None,
        "the split to examine (default: the parts on disk, or all images together)",
        metavar="NAME|DIR",
    )
    against: tuple[str, ...] = option(
        (), "other data sets, each treated as one more part", metavar="NAME|PATH"
    )
    groups: str = option(
        "known",
        "sequences or patients: known (groups.csv, the catalog), none, or a CSV of name,group;"
        " FILE:COLUMN where another column holds the groups",
        metavar="known|none|FILE[:COLUMN]",
    )
    out: Path | None = option(
        None, "folder of the results (default: leaks/DATA-SPLIT)", metavar="DIR"
    )


@dataclass(frozen=True, kw_only=True)
class SplitConfig(KnownData, Pages, Threads, Masks, Reading, Json, Progress):
    """Divide a data set into folds that keep video sequences or patients together."""

    scheme: str = option(
        "grouped-kfold",
        "grouped-kfold keeps groups together; random-kfold does not, and leaks where there "
        "are groups",
        choices=("grouped-kfold", "random-kfold"),
    )
    folds: int = option(5, "number of folds", at_least=2, at_most=100)
    groups: str = option(
        "known",
        "what stays together: known (groups.csv, the catalog), a CSV of name,group (FILE:COLUMN"
        " where another column holds the groups), or auto:"
        " clusters of images that show the same scene",
        metavar="known|auto|FILE[:COLUMN]",
    )
    seed: int = option(0, "seed; the same seed gives the same folds", at_least=0, at_most=2**31 - 1)
    out: Path | None = option(
        None, "new folder of the folds (default: folds/DATA-SCHEME)", metavar="DIR"
    )

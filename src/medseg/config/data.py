"""Which images a training sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import Size, option, size
from medseg.config.shared import Masks, Pages, PairingRule, Reading


@dataclass(frozen=True, kw_only=True)
class Data(PairingRule, Masks, Pages, Reading):
    """Which images, how they are divided and at which size the network sees them."""

    data: str = option(
        help="data set: a known name ('medseg data list') or a folder", metavar="NAME|PATH"
    )
    data_root: Path = option(Path("data"), "where known data sets are", metavar="DIR")
    split: str | None = option(
        None,
        "a shipped split, random-80-10-10[-seedN], or a folder of train.txt, validation.txt,"
        " test.txt",
        metavar="NAME|DIR",
    )
    folds: str | None = option(
        None,
        "all: cross-validate over the folders fold-1, fold-2, ... of the --split folder and"
        " evaluate their test parts together",
        choices=("all",),
    )
    hold_out: float = option(
        0.1,
        "share of the training images held out for validation if the split has no validation part",
        above=0,
        at_most=0.5,
    )
    size: Size = option(
        (352, 352), "size of the network's input: N or HxW", parse=size, metavar="N|HxW"
    )
    resize: str = option(
        "square",
        "how images get that size: stretched (square), padded with the aspect ratio kept"
        " (letterbox), or cropped at native resolution (native-crop)",
        choices=("square", "letterbox", "native-crop"),
    )
    channels: int = option(
        3, "channels of the network's input: 3, or 1 for grey", at_least=1, at_most=3
    )
    bit_depth: int = option(16, "significant bits of 16-bit images", at_least=8, at_most=16)
    cache_dir: Path | None = option(
        None, "where decoded images are kept (default: ~/.cache/medseg)", metavar="DIR"
    )
    workers: int = option(0, "threads that decode images; 0: one per core", at_least=0, at_most=256)

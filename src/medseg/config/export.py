"""The options of `medseg export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import option
from medseg.config.shared import Json, Overwrite, Progress, Threads

FORMATS = ("onnx", "openvino", "torch")
EXPORT_PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Threads, Overwrite, Json, Progress):
    """Write a run as one file that other runtimes run, and prove that it gives the same masks."""

    run: Path = option(help="run folder or checkpoint", positional=True)
    format: str = option("onnx", "of the file: .onnx, .xml and .bin, or .pt2", choices=FORMATS)
    precision: str = option(
        "fp32", "of the network's weights and arithmetic", choices=EXPORT_PRECISIONS
    )
    out: Path = option(help="folder for the file and parity.json", metavar="DIR")
    outputs: str = option("mask", "what the file gives: mask, or mask,probability")
    raw: bool = option(
        False, "the bare network: normalised float images of its own size in, logits out"
    )
    threshold: float = option(
        0.5,
        "a pixel is foreground where its foreground probability is at least this (2 classes)",
        above=0,
        below=1,
    )
    opset: int = option(18, "ONNX operator set", at_least=18, at_most=23)
    ir: int = option(8, "ONNX file version", at_least=8, at_most=12)
    calibration_images: int = option(
        300, "int8: training images that set the ranges of activations", at_least=1
    )
    data: str | None = option(
        None, "the new place of the run's own data (default: where they were)", metavar="NAME|PATH"
    )
    data_root: Path | None = option(
        None, "where known data sets are (default: the run's own)", metavar="DIR"
    )
    parity_data: str | None = option(
        None,
        "data set on which the file is compared with the run (default: the run's validation part)",
        metavar="NAME|PATH",
    )
    parity_images: int = option(200, "compare at most this many images of it", at_least=2)

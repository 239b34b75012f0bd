"""The options of `medseg bench`."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.config.choices import ACCELERATORS, PRECISIONS
from medseg.config.fields import Size, option, size
from medseg.config.networks import MODELS
from medseg.config.shared import Json


@dataclass(frozen=True, kw_only=True)
class BenchConfig(Json):
    """Measure training, prediction or feeding on this machine against a plain baseline."""

    what: str = option(
        help="train, predict (a folder), latency (of one image), or data (feeding)",
        positional=True,
        choices=("train", "predict", "latency", "data"),
    )
    files: tuple[str, ...] = option(
        (),
        "latency: exported files or runs, to be measured in turns on one decoded frame",
        positional=True,
        metavar="FILE",
    )
    frame: Size = option(
        (288, 384), "of FILE: height and width of the frame", parse=size, metavar="N|HxW"
    )
    model: str = option("unet", "network; 'medseg models' lists them", choices=tuple(MODELS))
    base_channels: int | None = option(
        None, "channels at full resolution (default: the network's own)", at_least=1
    )
    encoder: str | None = option(None, "smp: encoder")
    decoder: str | None = option(None, "smp: decoder")
    size: Size = option(
        (320, 320), "size of the network's input: N or HxW", parse=size, metavar="N|HxW"
    )
    batch_size: int | None = option(
        None, "images per step (default: 4 on a CPU, else 16)", at_least=1
    )
    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    precision: str = option("auto", "arithmetic of the fast path", choices=PRECISIONS)
    threads: int = option(0, "CPU threads; 0: all cores", at_least=0)
    compile: bool = option(False, "compile the network of the fast path")
    seconds: float = option(15.0, "measure for this long after warming up", above=0)

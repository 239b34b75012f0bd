"""Which network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import option
from medseg.config.networks import MODELS


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which network."""

    model: str = option("unet", "network; 'medseg models' lists them", choices=tuple(MODELS))
    base_channels: int | None = option(
        None, "channels at full resolution (default: the network's own)", at_least=1
    )
    encoder: str | None = option(
        None, "smp: encoder, such as resnet101 or tu-convnext_tiny (default: resnet34)"
    )
    decoder: str | None = option(
        None, "smp: decoder, such as unet, fpn or deeplabv3plus (default: unet)"
    )
    decoder_options: tuple[str, ...] = option(
        (),
        "smp: options of the decoder by the library's names, such as decoder_channels=[64,48,32]",
        metavar="KEY=VALUE",
    )
    encoder_weights: str | None = option(
        "imagenet", "smp: imagenet, none, or a file with a state dict", metavar="imagenet|none|PATH"
    )
    init: Path | None = option(
        None, "start from the weights of this run or checkpoint", metavar="RUN|PATH"
    )
    auxiliary: bool = option(False, "deep supervision through auxiliary heads (unetpp)")
    auxiliary_weights: tuple[float, ...] | None = option(
        None, "weight of each auxiliary head (default: 1 each)", at_least=0
    )

"""Any encoder and decoder of segmentation-models-pytorch, under the same contract as our own networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medseg.errors import UserError, choose
from medseg.models.blocks import PatientBatchNorm, SegmentationNetwork, resize
from medseg.models.encoders import asking_the_hub_once, check_encoder, imagenet_source, library, load_encoder

ALIASES = {"unetpp": "unetplusplus", "deeplabv3p": "deeplabv3plus"}


class SMP(SegmentationNetwork):
    """An encoder and a decoder of the library, with its own names in the state dict.

    Images are padded to a multiple of 32, for `dpt` to one of the encoder's patches; a timm encoder that takes one size
    only gets them resized to it, and the logits are resized back. Batch norms that see one value a channel in a training
    batch of one (pyramid pooling, split attention) are patient there.
    """

    stride = 32

    def __init__(self, *, in_channels: int = 3, classes: int = 2, encoder: str = "resnet34", decoder: str = "unet",
                 encoder_weights: str | None = "imagenet") -> None:
        super().__init__()
        decoder = choose("decoder", ALIASES.get(decoder, decoder), library().MODEL_ARCHITECTURES_MAPPING)
        check_encoder(encoder)
        network, options, self.only_size = _fitting(decoder, encoder, in_channels, classes)
        if encoder_weights == "imagenet":
            network = _pretrained(decoder, encoder, in_channels, classes, options)
        elif encoder_weights not in (None, "none"):
            load_encoder(network.encoder, Path(encoder_weights))
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = PatientBatchNorm  # adds nothing but its forward
        self.stride = _stride(decoder, network)
        self.encoder, self.decoder, self.segmentation_head = network.encoder, network.decoder, network.segmentation_head

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """encoder0, encoder1, ... from the finest on (most encoders start at 1/2; dpt's are of one size), and decoder."""
        maps = self.encoder(x)
        if isinstance(maps, tuple):  # dpt: with the class tokens
            decoded, shown = self.decoder(*maps), maps[0]
        else:
            decoded, shown = self.decoder(maps), [y for y in maps[1:] if y.shape[1]]  # not the image, no placeholder
        return {f"encoder{level}": y for level, y in enumerate(shown)} | {"decoder": decoded}

    def heads(self, stages: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        return {"main": resize(self.segmentation_head(stages["decoder"]), x)}

    def fit(self, x: Tensor) -> Tensor:
        if self.only_size is None:
            return super().fit(x)
        return F.interpolate(x, self.only_size, mode="bilinear", antialias=True)

    def restore(self, y: Tensor, x: Tensor) -> Tensor:
        if self.only_size is None:
            return super().restore(y, x)
        return F.interpolate(y, x.shape[-2:], mode="bilinear")


def _fitting(decoder: str, encoder: str, in_channels: int, classes: int) -> tuple[nn.Module, dict[str, Any], Any]:
    """The network with random weights, the options that make it, and the one size it takes (None: any).

    Many of timm's transformers take images of any size only when told so when built, each family by its own option, and
    some never. So each way is tried on a small image. Raises `UserError` when nothing works.
    """
    reason: Exception | None = None
    fixed = None
    for options in ({}, {"strict_img_size": False}, {"dynamic_img_size": True}) if encoder.startswith("tu-") else ({},):
        try:
            network = library().create_model(decoder, encoder, None, in_channels, classes, **options)
        except Exception as error:
            reason = reason or error
            continue
        stride = _stride(decoder, network)
        failure = _trial(network, in_channels, (2 * stride, 3 * stride))
        if failure is None:
            return network, options, None
        size = _own_size(encoder)
        if fixed is None and size and _trial(network, in_channels, size) is None:
            fixed = network, options, size
        reason = reason or failure
    if fixed:
        return fixed
    raise UserError(f"--encoder {encoder} does not fit --decoder {decoder} ({' '.join(str(reason).split())[:160]}); "
                    "choose another of the two")


def _pretrained(decoder: str, encoder: str, in_channels: int, classes: int, options: dict[str, Any]) -> nn.Module:
    """The network with the library's ImageNet weights in its encoder, adapted by the library to `in_channels`."""
    source = imagenet_source(encoder)
    weights = True if encoder.startswith("tu-") else "imagenet"
    try:
        with asking_the_hub_once():
            return library().create_model(decoder, encoder, weights, in_channels, classes, **options)
    except Exception as error:  # whatever the network, the hub's client or a damaged file in its cache raise
        raise UserError(f"--encoder-weights imagenet: the weights of {encoder} could not be downloaded from {source} "
                        f"({' '.join(str(error).split())[:120]}); offline, fetch the file on a connected machine and give "
                        "--encoder-weights PATH, or start from random weights with --encoder-weights none") from None


def _stride(decoder: str, network: nn.Module) -> int:
    """32 even where the decoder reads fewer stages: encoders such as HRNet compute them all."""
    return network.encoder.output_stride if decoder == "dpt" else 32


def _own_size(encoder: str) -> tuple[int, int] | None:
    """The height and width that a timm encoder was made for."""
    if not encoder.startswith("tu-"):
        return None
    import timm

    about = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
    return tuple(about.input_size[-2:]) if about and about.input_size else None


def _trial(network: nn.Module, channels: int, size: tuple[int, int]) -> Exception | None:
    """What goes wrong with an image of this size, if anything."""
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, channels, *size))
    except Exception as error:
        return error
    finally:
        network.train()
    return None

"""Any encoder and decoder of segmentation-models-pytorch, under the contract of our networks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medseg.errors import UserError, choose
from medseg.models.blocks import SegmentationNetwork, SingleValueBatchNorm, resize
from medseg.models.encoders import (
    asking_the_hub_once,
    check_encoder,
    imagenet_source,
    library,
    load_encoder,
    packaged_weights,
)

ALIASES = {"unetpp": "unetplusplus", "deeplabv3p": "deeplabv3plus"}


class SMP(SegmentationNetwork):
    """An encoder and a decoder of the library, with its own names in the state dict.

    Images are padded to a multiple of 32; a timm encoder that takes one size only gets them resized
    to it, and the logits are resized back. Batch norms accept the single value per channel that
    pyramid pooling and split attention give in a training batch of one.
    """

    stride = 32
    smallest = 64

    def __init__(
        self,
        *,
        in_channels: int = 3,
        classes: int = 2,
        encoder: str = "resnet34",
        decoder: str = "unet",
        decoder_options: Mapping[str, Any] = MappingProxyType({}),
        encoder_weights: str | None = "imagenet",
    ) -> None:
        super().__init__()
        decoder = choose(
            "decoder", ALIASES.get(decoder, decoder), library().MODEL_ARCHITECTURES_MAPPING
        )
        check_encoder(encoder)
        chosen = dict(decoder_options)
        _check_options(decoder, chosen)
        source = imagenet_source(encoder) if encoder_weights == "imagenet" else None
        network, fitting = _fitting(decoder, encoder, in_channels, classes, chosen)
        if source:
            network = _pretrained(source, decoder, encoder, in_channels, classes, fitting.options)
        elif encoder_weights not in (None, "none"):
            load_encoder(network.encoder, Path(encoder_weights))
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SingleValueBatchNorm  # adds nothing but its forward
        self.stride = _stride(network)
        self.smallest = fitting.smallest
        self.only_size = fitting.only_size
        self.encoder = network.encoder
        self.decoder = network.decoder
        self.segmentation_head = network.segmentation_head

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """encoder0, encoder1, ... from the finest on, and decoder.

        Most encoders start at 1/2; those of dpt are all of one size.
        """
        maps = self.encoder(x)
        if isinstance(maps, tuple):  # dpt: with the class tokens
            shown = maps[0]
            decoded = self.decoder(*maps)
        else:
            shown = [y for y in maps[1:] if y.shape[1]]  # not the image, no placeholder
            decoded = self.decoder(maps)
        found = {f"encoder{level}": y for level, y in enumerate(shown)}
        return found | {"decoder": decoded}

    def heads(self, stages: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """The library's segmentation head, at the size of x."""
        return {"main": resize(self.segmentation_head(stages["decoder"]), x)}

    def fit(self, x: Tensor) -> Tensor:
        """Images padded, or resized for an encoder that takes one size only."""
        if self.only_size is None:
            return super().fit(x)
        return F.interpolate(x, self.only_size, mode="bilinear", antialias=True)

    def restore(self, y: Tensor, x: Tensor) -> Tensor:
        """Logits of fitted images at the size of the images, the inverse of `fit`."""
        if self.only_size is None:
            return super().restore(y, x)
        return F.interpolate(y, x.shape[-2:], mode="bilinear")


class Fitting(NamedTuple):
    """How an encoder and a decoder go together."""

    options: dict[str, Any]  # of the encoder
    smallest: int = 0  # least height and width
    only_size: tuple[int, int] | None = None  # the one height and width that it takes


def _check_options(decoder: str, options: dict[str, Any]) -> None:
    """`UserError` for an option that the decoder does not have."""
    known = inspect.signature(library().MODEL_ARCHITECTURES_MAPPING[decoder].__init__).parameters
    own = [name for name in known if name.startswith(("decoder_", "psp_", "upsampling"))]
    own += ["encoder_depth", "encoder_output_stride"]
    wrong = next((name for name in options if name not in own or name not in known), None)
    if wrong:
        there = ", ".join(name for name in own if name in known)
        raise UserError(f"--decoder-options {wrong}: {decoder} has no such option; it has {there}")


def _fitting(
    decoder: str, encoder: str, in_channels: int, classes: int, chosen: dict[str, Any]
) -> tuple[nn.Module, Fitting]:
    """The network with random weights, and the `chosen` and other options that make it work.

    Many of timm's transformers take images of any size only when told so when built, each family by
    its own option, and some never; a decoder may need more pixels than others. So each combination
    is tried on small images. Raises `UserError` when none works.
    """
    choices: list[dict[str, Any]] = [chosen]
    if encoder.startswith("tu-"):
        choices += [chosen | {"strict_img_size": False}, chosen | {"dynamic_img_size": True}]
    create = library().create_model
    reason: Exception | None = None
    fixed_size: tuple[nn.Module, Fitting] | None = None
    for options in choices:
        try:
            network = create(decoder, encoder, None, in_channels, classes, **options)
        except Exception as error:  # the option may not exist, the two may not go together
            reason = reason or error
            continue
        for least in (2 * _stride(network), 4 * _stride(network)):
            reason = _trial(network, in_channels, (least, 2 * least))
            if reason is None:
                return network, Fitting(options, least)
        size = _own_size(encoder)
        if fixed_size is None and size and _trial(network, in_channels, size) is None:
            fixed_size = network, Fitting(options, only_size=size)
    if fixed_size is not None:
        return fixed_size
    text = " ".join(str(reason).split())[:160]
    raise UserError(
        f"--encoder {encoder} does not fit --decoder {decoder} ({text}); choose another of the two"
    )


def _pretrained(
    source: str, decoder: str, encoder: str, in_channels: int, classes: int, options: dict[str, Any]
) -> nn.Module:
    """The network with the ImageNet weights at `source` in its encoder.

    The library adapts them to `in_channels`. Raises `UserError` when they cannot be downloaded.
    """
    weights = True if encoder.startswith("tu-") else "imagenet"
    create = library().create_model
    try:
        with asking_the_hub_once():
            return create(decoder, encoder, weights, in_channels, classes, **options)
    except Exception as error:  # by the network, the hub's client or a damaged file in its cache
        text = " ".join(str(error).split())[:120].strip()
        raise UserError(
            f"--encoder-weights imagenet: the weights of {encoder} could not be downloaded from"
            f" {source} ({text}); offline, fetch the file on a connected machine and give"
            " --encoder-weights FILE, or start from random weights with --encoder-weights none;"
            f" {packaged_weights()}"
        ) from None


def _stride(network: nn.Module) -> int:
    """At least 32, even where the decoder reads fewer stages.

    Encoders such as HRNet compute them all.
    """
    return max(32, network.encoder.output_stride)


def _own_size(encoder: str) -> tuple[int, int] | None:
    """The height and width that a timm encoder was made for."""
    if not encoder.startswith("tu-"):
        return None
    import timm

    about = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
    if about is None or not about.input_size:
        return None
    return tuple(about.input_size[-2:])


def _trial(network: nn.Module, channels: int, size: tuple[int, int]) -> Exception | None:
    """The error that an image of this height and width raises, None if it goes through."""
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, channels, *size))
    except Exception as error:
        return error
    finally:
        network.train()
    return None

"""The networks by name, each from images [B, C, H, W] of any size to logits [B, K, H, W]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import yaml
from torch import nn

from medseg.config import ModelsConfig, TrainConfig
from medseg.config.networks import MODELS
from medseg.console import print_table
from medseg.errors import UserError, choose
from medseg.models.blocks import SegmentationNetwork, guard_convolutions
from medseg.models.encoders import normalisation

__all__ = ["MODELS", "create_model", "model_table", "network_arguments", "normalisation"]


def create_model(
    name: str = "unet",
    *,
    in_channels: int = 3,
    classes: int = 2,
    base_channels: int | None = None,
    encoder: str = "resnet34",
    decoder: str = "unet",
    encoder_weights: str | None = "imagenet",
    auxiliary: bool = False,
    **decoder_options: Any,
) -> SegmentationNetwork:
    """A network by name, with PyTorch's default initialisation.

    `base_channels` is the width at full resolution (default: the network's own); `encoder`,
    `decoder`, `encoder_weights` ("imagenet", "none" or the path of a state dict) and
    `decoder_options` (by the library's names) are for "smp" and ignored by the others; `auxiliary`
    adds the heads of deep supervision. Raises `UserError` for what does not exist or does not go
    together.
    """
    entry = MODELS[choose("model", name, MODELS)]
    _check_counts(in_channels=in_channels, classes=classes, base_channels=base_channels)
    if auxiliary and not entry.auxiliary:
        others = [other for other, facts in MODELS.items() if facts.auxiliary]
        raise UserError(f"{name} has no auxiliary heads; those with: {', '.join(others)}")
    shape = {"in_channels": in_channels, "classes": classes}
    if name == "smp":
        if base_channels is not None:
            raise UserError(
                "--base-channels: an smp network has its encoder's widths; choose another --encoder"
                " instead"
            )
        options = {"encoder": encoder, "decoder": decoder, "decoder_options": decoder_options}
        model = entry.build(**shape, **options, encoder_weights=encoder_weights)
    else:
        options = {"auxiliary": True} if auxiliary else {}
        width = base_channels or entry.base_channels
        model = entry.build(**shape, base_channels=width, **options)
    guard_convolutions(model)
    return model


def _check_counts(**counts: int | None) -> None:
    for option, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"{option}: got {value}, expected at least 1")


def network_arguments(config: TrainConfig, classes: int) -> dict[str, Any]:
    """The keyword arguments of `create_model` that travel with the checkpoint.

    The encoder's weights are not among them: the checkpoint has its own.
    """
    model = config.model
    arguments = {
        "name": model.model,
        "in_channels": config.data.channels,
        "classes": classes,
        "auxiliary": model.auxiliary,
    }
    if model.model == "smp":
        arguments |= {
            "encoder": model.encoder or "resnet34",
            "decoder": model.decoder or "unet",
        }
        return arguments | decoder_options(model.decoder_options)
    return arguments | {"base_channels": model.base_channels}


def decoder_options(words: Sequence[str]) -> dict[str, Any]:
    """The options of words such as "decoder_channels=[64,48,32]"; `UserError` for other words."""
    found: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if not key or not value:
            raise UserError(f"--decoder-options {word}: expected KEY=VALUE")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--decoder-options {word}: {value} is not a value") from None
    return found


def model_table() -> list[dict[str, Any]]:
    """One row per network: name, base channels, parameters, GMAC at 320x320, paper and its URL.

    Counted at 3 input channels and 2 classes; smp with a U-Net decoder on resnet18.
    """
    rows = []
    for name, entry in MODELS.items():
        with torch.device("meta"):
            model = create_model(name, encoder="resnet18", encoder_weights=None).eval()
        rows.append(
            {
                "name": "smp unet resnet18" if name == "smp" else name,
                "base_channels": entry.base_channels,
                "parameters": sum(p.numel() for p in model.parameters()),
                "gmac_at_320": round(multiply_adds(model, 320) / 1e9, 1),
                "paper": entry.paper,
                "url": entry.url,
            }
        )
    return rows


def multiply_adds(model: nn.Module, size: int, in_channels: int = 3) -> int:
    """Multiply-adds of the convolutions and matrix products for one square image.

    Norms, activations, pooling, interpolation and bias terms are not counted. A model on the meta
    device computes nothing.
    """
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, in_channels, size, size, device=device))
    return counter.get_total_flops() // 2


def list_models(config: ModelsConfig) -> list[dict[str, Any]]:
    """`medseg models`."""
    return model_table()


def show_models(rows: list[dict[str, Any]], config: ModelsConfig) -> None:
    """Print the table of networks."""
    print_table("networks at 3 input channels, 2 classes", rows)

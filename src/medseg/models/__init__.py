"""The networks, by name. Each takes images [B, C, H, W] of any size and returns logits [B, K, H,
W].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from medseg.config import TrainConfig
from medseg.errors import UserError, choose
from medseg.models.blocks import SegmentationNetwork, guard_convolutions
from medseg.models.ducknet import DUCKNet
from medseg.models.encoders import normalisation
from medseg.models.resunet import ResUNet
from medseg.models.resunetpp import ResUNetPP
from medseg.models.smp import SMP
from medseg.models.unet import UNet
from medseg.models.unetpp import UNetPP

__all__ = ["MODELS", "create_model", "describe", "network_arguments", "normalisation"]


@dataclass(frozen=True)
class Entry:
    """A network and the facts about it.

    `base_channels` is its default width, None where the encoder decides; `auxiliary` names its
    heads of deep supervision.
    """

    build: type[SegmentationNetwork]
    base_channels: int | None
    paper: str
    url: str
    auxiliary: tuple[str, ...] = ()

    @property
    def stride(self) -> int:
        """The sides of images are padded to a multiple of this; for smp it is the usual one."""
        return self.build.stride


MODELS: dict[str, Entry] = {
    "unet": Entry(UNet, 32, "U-Net, Ronneberger et al. 2015", "https://arxiv.org/abs/1505.04597"),
    "unetpp": Entry(
        UNetPP,
        32,
        "UNet++, Zhou et al. 2018",
        "https://arxiv.org/abs/1807.10165",
        ("aux1", "aux2", "aux3"),
    ),
    "resunet": Entry(
        ResUNet, 32, "Deep Residual U-Net, Zhang et al. 2017", "https://arxiv.org/abs/1711.10684"
    ),
    "resunetpp": Entry(
        ResUNetPP, 32, "ResUNet++, Jha et al. 2019", "https://arxiv.org/abs/1911.07067"
    ),
    "ducknet": Entry(
        DUCKNet, 17, "DUCK-Net, Dumitru et al. 2023", "https://doi.org/10.1038/s41598-023-36940-5"
    ),
    "smp": Entry(
        SMP,
        None,
        "segmentation-models-pytorch",
        "https://github.com/qubvel-org/segmentation_models.pytorch",
    ),
}


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
) -> SegmentationNetwork:
    """A network by name, with PyTorch's default initialisation.

    `base_channels` is the width at full resolution (default: the network's own); `encoder`,
    `decoder` and `encoder_weights` ("imagenet", "none" or the path of a state dict) are for "smp"
    and ignored by the others; `auxiliary` adds the heads of deep supervision. Raises `UserError`
    for what does not exist or does not go together.
    """
    entry = MODELS[choose("model", name, MODELS)]
    for what, value in (
        ("in_channels", in_channels),
        ("classes", classes),
        ("base_channels", base_channels),
    ):
        if value is not None and value < 1:
            raise UserError(f"{what}: got {value}, expected at least 1")
    if auxiliary and not entry.auxiliary:
        raise UserError(
            f"{name} has no auxiliary heads; those with: "
            + ", ".join(each for each, other in MODELS.items() if other.auxiliary)
        )
    if name == "smp":
        if base_channels is not None:
            raise UserError(
                "--base-channels: an smp network has its encoder's widths; choose another --encoder"
                " instead"
            )
        model = SMP(
            in_channels=in_channels,
            classes=classes,
            encoder=encoder,
            decoder=decoder,
            encoder_weights=encoder_weights,
        )
    else:
        options: dict[str, Any] = {"auxiliary": True} if auxiliary else {}
        model = entry.build(
            in_channels=in_channels,
            classes=classes,
            base_channels=base_channels or entry.base_channels,
            **options,
        )
    guard_convolutions(model)
    return model


def network_arguments(config: TrainConfig, classes: int) -> dict[str, Any]:
    """The keyword arguments of `create_model` but for the encoder's weights; they travel with the
    checkpoint.
    """
    model = config.model
    arguments = {
        "name": model.model,
        "in_channels": config.data.channels,
        "classes": classes,
        "auxiliary": model.auxiliary,
    }
    if model.model == "smp":
        return arguments | {
            "encoder": model.encoder or "resnet34",
            "decoder": model.decoder or "unet",
        }
    return arguments | {"base_channels": model.base_channels}


def describe() -> list[dict[str, Any]]:
    """Name, base channels, parameters, GMAC at 320x320, paper and address of each network, at 3
    input channels, 2 classes.
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
    """Multiply-adds of the convolutions and matrix products for one square image; a model on the
    meta device computes nothing.

    Norms, activations, pooling and interpolation are not counted; bias terms neither.
    """
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, in_channels, size, size, device=device))
    return counter.get_total_flops() // 2

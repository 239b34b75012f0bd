"""The table of networks: a new one is its module in `models` and a line here.

Options choose from it, so it names the classes, and PyTorch is not imported before one is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A network and the facts about it.

    `network` is the module in `medseg.models` and the class; `base_channels` is its default width,
    None where the encoder decides; `auxiliary` names its heads of deep supervision.
    """

    network: str
    base_channels: int | None
    paper: str
    url: str
    auxiliary: tuple[str, ...] = ()

    @property
    def build(self) -> type[Any]:
        """The class, a `SegmentationNetwork`; its keyword arguments are those of `create_model`."""
        module, name = self.network.split(":")
        return getattr(import_module(f"medseg.models.{module}"), name)

    @property
    def stride(self) -> int:
        """The sides of images are padded to a multiple of this; for smp it is the usual one."""
        return self.build.stride


MODELS: dict[str, Entry] = {
    "unet": Entry(
        "unet:UNet", 32, "U-Net, Ronneberger et al. 2015", "https://arxiv.org/abs/1505.04597"
    ),
    "unetpp": Entry(
        "unetpp:UNetPP",
        32,
        "UNet++, Zhou et al. 2018",
        "https://arxiv.org/abs/1807.10165",
        ("aux1", "aux2", "aux3"),
    ),
    "resunet": Entry(
        "resunet:ResUNet",
        32,
        "Deep Residual U-Net, Zhang et al. 2017",
        "https://arxiv.org/abs/1711.10684",
    ),
    "resunetpp": Entry(
        "resunetpp:ResUNetPP",
        32,
        "ResUNet++, Jha et al. 2019",
        "https://arxiv.org/abs/1911.07067",
    ),
    "ducknet": Entry(
        "ducknet:DUCKNet",
        17,
        "DUCK-Net, Dumitru et al. 2023",
        "https://doi.org/10.1038/s41598-023-36940-5",
    ),
    "smp": Entry(
        "smp:SMP",
        None,
        "segmentation-models-pytorch",
        "https://github.com/qubvel-org/segmentation_models.pytorch",
    ),
}

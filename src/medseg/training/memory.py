"""How many images per step fit in memory, from what one image keeps for the backward pass.

For `--batch-size auto`, and to refuse a batch that cannot work.
"""

from __future__ import annotations

import os

import torch
from loguru import logger
from torch import Tensor

from medseg.config import TrainConfig
from medseg.errors import UserError
from medseg.hardware import autocast, pick_accelerator, pick_precision
from medseg.models import create_model, network_arguments
from medseg.models.blocks import SegmentationNetwork
from medseg.training.runtime import world_of

# images per process: long before memory is full, more steps train better than larger ones
LARGEST = 32
# of memory; the rest is for the forward pass, fragmentation and other programs
SHARE = 0.7
STATE = 16  # bytes per parameter: weight, gradient and two moments in float32


def fitting_batch_size(config: TrainConfig, classes: int, world: int) -> int:
    """The largest power of two, times the number of processes, that fits in memory.

    A function of the config and of the machine's total memory, so that all processes find the same
    number. Kept tensors are counted in a forward pass of two images on the CPU; no batch is tried
    until it fails.
    """
    accelerator = pick_accelerator(config.hardware.accelerator)
    model = create_model(**network_arguments(config, classes), encoder_weights=None).train()
    image = torch.zeros(2, config.data.channels, *config.data.size).contiguous(
        memory_format=torch.channels_last
    )
    precision = pick_precision(config.hardware.precision, accelerator)
    each = kept_bytes(model, image, "bf16" if precision == "fp16" else precision) / len(image)
    if accelerator == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
    else:
        total = _main_memory() // world
    room = SHARE * total - STATE * sum(p.numel() for p in model.parameters())
    size = 1
    while size < LARGEST and 2 * size * each <= room:
        size *= 2
    logger.info(
        f"--batch-size auto: {size * world} ({each / 2**20:.0f} MiB per image,"
        f" {total / 2**30:.1f} GiB for each of {world} process{'es' if world > 1 else ''})"
    )
    return size * world


def check_batch_size(config: TrainConfig, model: SegmentationNetwork, precision: str) -> None:
    """`UserError` for a batch that does not fit in this machine's main memory.

    The system would end the process without a message. What a pixel keeps is the difference of two
    small images, so that weights cast to bf16 do not count for each image. It grows with the
    pixels (attention with more, so it is never counted too high). A GPU reports by itself that its
    memory is full.
    """
    _, machines = world_of(config.hardware)
    batch_size = config.training.batch_size // machines
    channels = config.data.channels
    small, large = (
        torch.zeros(1, channels, side, side).contiguous(memory_format=torch.channels_last)
        for side in (64, 128)
    )
    training = model.training
    model.eval()  # no new statistics
    kept = kept_bytes(model, large, precision) - kept_bytes(model, small, precision)
    pixels = _fitted_pixels(model, large) - _fitted_pixels(model, small)
    image_pixels = _fitted_pixels(model, torch.zeros(1, channels, *config.data.size))
    model.train(training)
    # 0 for a network that resizes all images to one size
    each = image_pixels * kept / max(1, pixels)
    total = _main_memory()
    if batch_size * each > total:
        fitting = max(1, int(SHARE * total / each))
        raise UserError(
            f"--batch-size {batch_size}: keeps about {batch_size * each / 2**30:.0f} GiB for the"
            f" backward pass, this machine has {total / 2**30:.0f} GiB; use --batch-size {fitting}"
            f" with --accumulate {-(-batch_size // fitting)}, or a smaller --size"
        )


def _fitted_pixels(model: SegmentationNetwork, image: Tensor) -> int:
    """Pixels of the image as the network pads or resizes it."""
    return model.fit(image)[0, 0].numel()


def kept_bytes(model: torch.nn.Module, image: Tensor, precision: str) -> int:
    """Bytes that the forward pass of `image` keeps for the backward pass, without parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}
    kept = []  # alive until the end, or an address would be used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        autocast("cpu", precision),
    ):
        model(image)
    return sum(storages.values())


def _main_memory() -> int:
    """Bytes of main memory; 8 GiB where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return 8 * 2**30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

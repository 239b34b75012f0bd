"""How many images a step memory holds, by what one image leaves behind for the backward pass:
`--batch-size auto`, and the refusal of a batch that cannot work.
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

LARGEST = 32  # images a process: more steps teach more than larger ones, long before memory ends
SHARE = (
    0.7  # of memory; the rest is for the forward pass in between, fragmentation and everybody else
)
STATE = 16  # bytes a parameter: weight, gradient and two moments in float32


def fitting_batch_size(config: TrainConfig, classes: int, world: int) -> int:
    """The largest power of two, times the number of processes, for which training fits into memory.

    A function of the config and of the machine's total memory, so that all processes find the same
    number. Kept tensors are counted in a forward pass of two images on the CPU; nothing is tried
    until it fails.
    """
    accelerator = pick_accelerator(config.hardware.accelerator)
    model = create_model(**network_arguments(config, classes), encoder_weights=None).train()
    image = torch.zeros(2, config.data.channels, *config.data.size).contiguous(
        memory_format=torch.channels_last
    )
    precision = pick_precision(config.hardware.precision, accelerator)
    each = kept_bytes(model, image, "bf16" if precision == "fp16" else precision) / len(image)
    total = (
        torch.cuda.get_device_properties(0).total_memory
        if accelerator == "cuda"
        else _main_memory() // world
    )
    room = SHARE * total - STATE * sum(p.numel() for p in model.parameters())
    size = 1
    while size < LARGEST and 2 * size * each <= room:
        size *= 2
    logger.info(
        f"--batch-size auto: {size * world} ({each / 2**20:.0f} MiB an image, {total / 2**30:.1f}"
        f" GiB for each of {world} process{'es' if world > 1 else ''})"
    )
    return size * world


def check_batch_size(config: TrainConfig, model: SegmentationNetwork, precision: str) -> None:
    """`UserError` for a batch that this machine's main memory cannot hold: the system would end the
    process without a word.

    What a pixel leaves behind is the difference of two small images, so that weights cast to bf16
    do not count for each image. It grows with the pixels (attention with more, so it is never
    counted too high). A GPU says by itself that its memory is full.
    """
    batch_size, channels = (
        config.training.batch_size // world_of(config.hardware)[1],
        config.data.channels,
    )  # on this machine
    images = [
        torch.zeros(1, channels, side, side).contiguous(memory_format=torch.channels_last)
        for side in (64, 128)
    ]
    training = model.training
    model.eval()  # no new statistics
    kept = [kept_bytes(model, image, precision) for image in images]
    pixels = [
        model.fit(image)[0, 0].numel()
        for image in (*images, torch.zeros(1, channels, *config.data.size))
    ]
    model.train(training)
    each = (
        pixels[2] * (kept[1] - kept[0]) / max(1, pixels[1] - pixels[0])
    )  # 0 for a network that resizes all images to one size
    total = _main_memory()
    if batch_size * each > total:
        fitting = max(1, int(SHARE * total / each))
        raise UserError(
            f"--batch-size {batch_size}: keeps about {batch_size * each / 2**30:.0f} GiB for the"
            f" backward pass, this machine has {total / 2**30:.0f} GiB; use --batch-size {fitting}"
            f" with --accumulate {-(-batch_size // fitting)}, or a smaller --size"
        )


def kept_bytes(model: torch.nn.Module, image: Tensor, precision: str) -> int:
    """Bytes that the forward pass of `image` keeps for the backward pass, without the parameters."""
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
    return (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sysconf")
        else 8 * 2**30
    )

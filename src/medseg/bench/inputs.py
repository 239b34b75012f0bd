"""The inputs of all measurements: generated scenes, their cache, and an untrained network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from medseg.config import TrainConfig
from medseg.data.batches import TrainBatches
from medseg.data.cache import open_store
from medseg.data.masks import survey
from medseg.data.sample import Item
from medseg.data.sources.folder import open_dataset
from medseg.data.synthetic.synthesize import synthesize
from medseg.hardware import threads
from medseg.models import create_model, network_arguments
from medseg.runs import Checkpoint
from medseg.training.parts import make_preprocessing


def scenes(folder: Path, *, count: int) -> None:
    """Generated images and masks, 288 pixels high, below folder/scenes."""
    synthesize(folder / "scenes", images=count, size=288, seed=0)


def scene_items(folder: Path) -> list[Item]:
    """The images and masks that `scenes` made, of all parts."""
    return list(open_dataset(folder / "scenes", data_root=folder).items)


def scene_batches(config: TrainConfig, folder: Path, device: torch.device) -> TrainBatches:
    """The scenes as training batches from a cache at the size of the config."""
    items = scene_items(folder)
    preprocessing = make_preprocessing(config)
    store = open_store(items, survey(items), preprocessing, folder=folder / "cache")
    return TrainBatches(store, batch_size=config.training.batch_size, seed=0, device=device)


def untrained_checkpoint(config: TrainConfig, folder: Path) -> tuple[Path, nn.Module]:
    """A checkpoint of an untrained network with two classes, and the network in eval mode."""
    path = folder / "network.pt"
    torch.manual_seed(0)
    network = network_arguments(config, 2)
    model = create_model(**network, encoder_weights=None).eval()
    checkpoint = Checkpoint(
        network=network,
        weights=model.state_dict(),
        preprocessing=make_preprocessing(config),
        classes=2,
        mask_kind="binary-255",
        epoch=0,
        score=0.0,
        metric="dice",
        config={},
    )
    checkpoint.save(path)
    return path, model


def plain_device(config: TrainConfig) -> torch.device:
    """The device with the threads of the fast path, and nothing else that `make_fabric` sets."""
    torch.set_num_threads(threads(wanted=config.hardware.threads))
    return torch.device(config.hardware.accelerator)

"""Augmented training batches: from the cache, and with every file decoded anew."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import numpy as np
import torch

from medseg.augment.batch import augment, sample
from medseg.bench.inputs import plain_device, scene_batches, scene_items
from medseg.bench.steps import repeated
from medseg.bench.turns import Reading, Work
from medseg.config import TrainConfig
from medseg.data.cache import read_pair
from medseg.data.masks import survey
from medseg.training.parts import make_preprocessing
from medseg.training.profile import StageTimer
from medseg.training.runtime import make_fabric


def feed(config: TrainConfig, folder: Path) -> Work:
    """Batches from the cache, augmented, as the network would get them."""
    fabric, _ = make_fabric(config.hardware)
    batches = scene_batches(config, folder, fabric.device)
    preprocessing = make_preprocessing(config)
    strength = config.augment
    epochs = count()

    def step() -> Reading:
        timer = StageTimer(fabric.device)
        started = time.perf_counter()
        epoch = next(epochs)
        with timer.stage("gather"):
            batch = next(batches.epoch(epoch))
        with timer.stage("augmentation"):
            parameters = sample(strength, 0, epoch, batch.keys)
            augment(batch.image, batch.mask, parameters, strength, preprocessing)
        return Reading(len(batch.names), time.perf_counter() - started, timer.seconds)

    return repeated(step)


def plain_feed(config: TrainConfig, folder: Path) -> Work:
    """The same batches with every file decoded anew."""
    device = plain_device(config)
    items = scene_items(folder)
    preprocessing = make_preprocessing(config)
    coding = survey(items)
    keys = scene_batches(config, folder, device).keys
    strength = config.augment

    def step() -> Reading:
        timer = StageTimer(device)
        started = time.perf_counter()
        chosen = np.random.default_rng().permutation(len(items))[: config.training.batch_size]
        with timer.stage("decode"):
            images, masks = [], []
            for i in chosen:
                image, mask = read_pair(items[i], coding, preprocessing)
                images.append(preprocessing.fit(image))
                masks.append(preprocessing.fit_mask(mask))
            image_batch = torch.from_numpy(np.stack(images)).to(device)
            mask_batch = torch.from_numpy(np.stack(masks)).to(device)
        with timer.stage("augmentation"):
            parameters = sample(strength, 0, 0, keys[chosen])
            augment(image_batch, mask_batch, parameters, strength, preprocessing)
        return Reading(len(chosen), time.perf_counter() - started, timer.seconds)

    return repeated(step)

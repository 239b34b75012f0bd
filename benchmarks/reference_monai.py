"""Reference: MONAI's usual dictionary pipeline with CacheDataset."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Lambdad,
    LoadImaged,
    RandAdjustContrastd,
    RandAxisFlipd,
    RandRotated,
    RandZoomd,
    Resized,
    ScaleIntensityd,
)

from medseg.bench.turns import Reading, Work
from medseg.models import create_model

KEYS = ("image", "mask")


def epoch(
    pairs: list[tuple[Path, Path]],
    network: dict,
    size: int,
    batch_size: int,
    log: Path,
    device: str,
    threads: int,
) -> Work:
    """One epoch per turn.

    Loading and resizing are cached in memory, random transforms run in every epoch.
    """
    torch.set_num_threads(threads)
    transform = Compose(
        [
            LoadImaged(KEYS, image_only=True),
            EnsureChannelFirstd(KEYS),
            Lambdad("image", lambda x: x[:3]),
            Lambdad("mask", lambda x: (x[:1] > 127).float()),
            ScaleIntensityd("image"),
            Resized(KEYS, (size, size), mode=("bilinear", "nearest")),
            RandRotated(KEYS, range_x=0.5, prob=1.0, mode=("bilinear", "nearest")),
            RandZoomd(KEYS, prob=1.0, min_zoom=0.75, max_zoom=1.5, mode=("bilinear", "nearest")),
            RandAxisFlipd(KEYS, prob=0.5),
            RandAdjustContrastd("image", prob=0.5),
        ]
    )
    data = CacheDataset(
        [{"image": str(image), "mask": str(mask)} for image, mask in pairs],
        transform,
        num_workers=threads,
        progress=False,
    )
    loader = DataLoader(data, batch_size=batch_size, shuffle=True, num_workers=0, drop_last=True)
    model = create_model(**network, encoder_weights=None).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True)

    def turn() -> Reading:
        started = time.perf_counter()
        total = 0.0
        for batch in loader:
            optimizer.zero_grad()
            loss = loss_of(model(batch["image"].to(device)), batch["mask"].to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()
        return Reading(len(loader) * batch_size, time.perf_counter() - started)

    return turn

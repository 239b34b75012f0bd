"""The way segmentation networks are usually trained, as a reference to measure against.

Every file is decoded by Pillow in every epoch and augmented by albumentations in worker processes;
the network runs in float32, contiguous and eager; each step waits for its loss and writes it to
TensorBoard; validation takes one image at a time. The recipe is that of the original toolkit; the
code is ours.
"""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from medseg.bench.turns import Reading, Work
from medseg.models import create_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Folder(Dataset):
    """Image and mask files, decoded when asked for."""

    def __init__(self, pairs: list[tuple[Path, Path]], transform: A.Compose) -> None:
        self.pairs = pairs
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.pairs[index]
        pixels = np.asarray(Image.open(image).convert("RGB"))
        truth = (np.asarray(Image.open(mask).convert("L")) > 127).astype(np.uint8)
        found = self.transform(image=pixels, mask=truth)
        return found["image"], found["mask"].long()


def training_transform(size: int) -> A.Compose:
    """Scale 0.5 to 2, pad, crop, colour jitter, flips, normalise."""
    return A.Compose(
        [
            A.RandomScale((-0.5, 1.0), p=1),
            A.PadIfNeeded(size, size),
            A.RandomCrop(size, size),
            A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=1),
            A.HorizontalFlip(),
            A.VerticalFlip(),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )


def epoch(
    pairs: list[tuple[Path, Path]],
    network: dict,
    size: int,
    batch_size: int,
    log: Path,
    device: str,
    threads: int,
) -> Work:
    """One epoch of training per turn."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = create_model(**network, encoder_weights=None).to(device).train()
    loader = DataLoader(
        Folder(pairs, training_transform(size)),
        batch_size,
        shuffle=True,
        num_workers=threads,
        drop_last=True,
        pin_memory=device == "cuda",
        persistent_workers=True,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=10_000)
    loss_of = nn.CrossEntropyLoss()
    board = SummaryWriter(str(log))
    steps = count()

    def turn() -> Reading:
        started = time.perf_counter()
        for image, mask in loader:
            optimizer.zero_grad()
            loss = loss_of(model(image.to(device)), mask.to(device))
            loss.backward()
            optimizer.step()
            schedule.step()
            board.add_scalar("loss", loss.item(), next(steps))
        return Reading(len(loader) * batch_size, time.perf_counter() - started)

    return turn


def validation(pairs: list[tuple[Path, Path]], network: dict, device: str, threads: int) -> Work:
    """All images, each at its own size, one at a time."""
    torch.set_num_threads(threads)
    model = create_model(**network, encoder_weights=None).to(device).eval()
    transform = A.Compose([A.Normalize(MEAN, STD), ToTensorV2()])
    loader = DataLoader(Folder(pairs, transform), 1, num_workers=1)

    @torch.no_grad()
    def turn() -> Reading:
        started = time.perf_counter()
        counts = torch.zeros(2, 2)
        for image, mask in loader:
            predicted = model(image.to(device)).argmax(1).cpu()
            counts += torch.bincount((mask * 2 + predicted).flatten(), minlength=4).view(2, 2)
        return Reading(len(pairs), time.perf_counter() - started)

    return turn


def feeding(pairs: list[tuple[Path, Path]], size: int, batch_size: int, workers: int) -> Work:
    """One epoch of batches per turn, for no network."""
    loader = DataLoader(
        Folder(pairs, training_transform(size)),
        batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=True,
    )

    def turn() -> Reading:
        started = time.perf_counter()
        images = sum(len(image) for image, _ in loader)
        return Reading(images, time.perf_counter() - started)

    return turn

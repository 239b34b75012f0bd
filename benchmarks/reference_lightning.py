"""Reference: segmentation-models-pytorch under a plain Lightning Trainer, as its examples show."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from reference_loop import Folder, training_transform
from torch.utils.data import DataLoader

from medseg.bench.turns import Reading, Work
from medseg.models.encoders import library

# before lightning, which imports torchvision: beside a CPU build of torch that fails unless mended
smp = library()
from lightning import LightningModule, Trainer  # noqa: E402


class Segmentation(LightningModule):
    """A library model with its Dice loss, logged in every step."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.model = smp.Unet(encoder, encoder_weights=None, in_channels=3, classes=1)
        self.loss = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)

    def training_step(self, batch: tuple, index: int) -> torch.Tensor:
        """Forward and loss."""
        image, mask = batch
        loss = self.loss(self.model(image), mask[:, None].float())
        self.log("train_loss", loss, prog_bar=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def epoch(
    pairs: list[tuple[Path, Path]],
    encoder: str,
    size: int,
    batch_size: int,
    log: Path,
    device: str,
    threads: int,
) -> Work:
    """One epoch by a Trainer per turn."""
    torch.set_num_threads(threads)
    model = Segmentation(encoder)
    loader = DataLoader(
        Folder(pairs, training_transform(size)),
        batch_size,
        shuffle=True,
        num_workers=threads,
        drop_last=True,
        pin_memory=device == "cuda",
        persistent_workers=True,
    )

    def turn() -> Reading:
        trainer = Trainer(
            max_epochs=1,
            accelerator="gpu" if device == "cuda" else device,
            devices=1,
            default_root_dir=log,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            log_every_n_steps=1,
        )
        started = time.perf_counter()
        trainer.fit(model, loader)
        return Reading(len(loader) * batch_size, time.perf_counter() - started)

    return turn

"""Distillation as a part of one training: the teachers, their logits on disk, the projections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch import Tensor, nn

from medseg.augment.batch import Parameters, follow
from medseg.config import Optim, TrainConfig
from medseg.console import progress
from medseg.data.batches import Batch
from medseg.data.remembered import recall
from medseg.data.sample import Dataset
from medseg.distill.cache import open_cache
from medseg.distill.loss import DistillationLoss
from medseg.distill.teacher import Teacher, load_teachers
from medseg.errors import UserError, counted
from medseg.hardware import cores
from medseg.runs import Checkpoint, find_checkpoint
from medseg.training.parts import Parts

TeacherLogits = Callable[[Batch, Parameters], Tensor]


@dataclass
class Distillation:
    """What a training with teachers has besides one without.

    `teacher_logits` gives the kept logits of a batch, warped as its images are; None where the
    teachers run in every step.
    """

    loss: DistillationLoss
    teacher_logits: TeacherLogits | None = None

    def add_to(self, optimizer: torch.optim.Optimizer, config: Optim) -> None:
        """Have the student's optimiser train the projection layers too."""
        if self.loss.projections is not None:
            optimizer.add_param_group(
                {
                    "params": list(self.loss.projections.parameters()),
                    "weight_decay": config.weight_decay,
                    "factor": 1.0,
                }
            )

    def state(self) -> dict[str, Any]:
        """What last.pt holds of it."""
        layers = self.loss.projections
        return {
            "teachers": digests(self.loss.teachers),
            "projections": None if layers is None else layers.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` has returned."""
        if self.loss.projections is not None:
            self.loss.projections.load_state_dict(state["projections"])


def find_teachers(
    config: TrainConfig, parts: Parts, accelerator: str, stored: Checkpoint | None
) -> list[Teacher]:
    """The teachers that a config names, none where it names none.

    Raises `UserError` for one that is missing, damaged or of other classes, and where a resumed run
    (`stored` is its last.pt) was started with others.
    """
    paths = config.distill.teacher or ()
    teachers = load_teachers(paths, coding=parts.coding, accelerator=accelerator)
    if stored and digests(teachers) != stored.training.get("distill", {}).get("teachers", []):
        raise UserError(
            f"--teacher {' '.join(map(str, paths))}: a resumed run keeps the teachers it was"
            " started with, these have other weights; give those, or start a new run with --init"
        )
    for teacher in teachers:
        warn_of_leak("--teacher", teacher.path, parts.dataset)
    return teachers


def digests(teachers: Sequence[Teacher]) -> list[str]:
    """The digest of each teacher's weights and preprocessing."""
    return [teacher.digest for teacher in teachers]


def warn_of_leak(option: str, path: Path, dataset: Dataset) -> None:
    """Warn where a run that weights or teaching come from was trained on images to be evaluated.

    What it learned from them reaches this run. Names are compared, since the test part is not read
    before training has ended; the stamps of the results compare bytes.
    """
    seen = set(recall(find_checkpoint(path).parent).names("train"))
    for part in ("validation", "test"):
        names = [item.name for item in dataset.parts.get(part, ()) if item.name in seen]
        if names:
            logger.warning(
                f"{option} {path}: was trained on"
                f" {counted(len(names), 'image with a name', 'images with names')} of the {part}"
                f" part, such as {names[0]}; if they are the same images, this run's numbers on"
                " them are optimistic"
            )


def make_distillation(
    config: TrainConfig,
    parts: Parts,
    teachers: Sequence[Teacher],
    student: nn.Module,
    device: torch.device,
) -> Distillation | None:
    """Distillation from these teachers; None without teachers.

    The first weights of the projection layers are a function of the seed.
    """
    if not teachers:
        return None
    options = config.distill
    torch.manual_seed(config.training.seed)
    loss = DistillationLoss(
        teachers,
        student,
        parts.preprocessing,
        kd=options.kd,
        temperature=options.kd_temperature,
    ).to(device)
    for teacher in teachers:
        teacher.network.to(device)
    if not options.kd_cache:
        return Distillation(loss)
    stored = open_teacher_logits(config, parts, teachers, device)
    return Distillation(loss, _warped(config, parts, stored))


def open_teacher_logits(
    config: TrainConfig, parts: Parts, teachers: Sequence[Teacher], device: torch.device
) -> np.ndarray:
    """The teachers' logits of the training images, float16 [N, K, H, W], computed or from disk."""
    data = config.data
    with progress("run the teacher", show=config.output.progress) as advance:
        return open_cache(
            teachers,
            parts.dataset.parts["train"],
            parts.preprocessing,
            classes=parts.coding.classes,
            device=device,
            folder=data.cache_dir,
            workers=data.workers or cores(),
            progress=advance,
        )


def _warped(config: TrainConfig, parts: Parts, stored: np.ndarray) -> TeacherLogits:
    """A function of a batch to its stored logits, warped as its images are."""

    def teacher_logits(batch: Batch, parameters: Parameters) -> Tensor:
        logits = torch.from_numpy(stored[batch.index])
        return follow(
            logits.to(batch.image.device, non_blocking=True).float(),
            parameters,
            config.augment,
            source=tuple(batch.image.shape[1:3]),
            size=parts.preprocessing.size,
        )

    return teacher_logits

"""Distillation as a part of one training: the teachers, their cached answers, and layers that are
trained beside the student.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from loguru import logger
from torch import Tensor, nn

from medseg.augment.batch import Parameters, follow
from medseg.config import TrainConfig
from medseg.config.schema import Optim
from medseg.console import progress
from medseg.data.batches import Batch
from medseg.data.sample import Dataset
from medseg.distill.cache import open_cache
from medseg.distill.lessons import Lessons
from medseg.distill.teacher import Teacher, load_teachers
from medseg.errors import UserError
from medseg.hardware import cores
from medseg.runs import Checkpoint, find_checkpoint, read_names
from medseg.training.parts import Parts
from medseg.training.tasks import Objective, distilled

Recall = Callable[[Batch, Parameters], Tensor]


@dataclass
class Teaching:
    """What a training with teachers has beside one without. `recall` gives their cached logits of a
    batch, moved as it is.
    """

    lessons: Lessons
    weight: float
    auxiliary: bool
    recall: Recall | None = None

    def around(self, task: Objective) -> Objective:
        """The distilled objective about that of the task."""
        return distilled(task, self.lessons, self.weight, auxiliary=self.auxiliary)

    def join(self, optimizer: torch.optim.Optimizer, config: Optim) -> None:
        """Have the projection layers trained by the student's optimiser."""
        if self.lessons.projections is not None:
            optimizer.add_param_group(
                {
                    "params": list(self.lessons.projections.parameters()),
                    "weight_decay": config.weight_decay,
                    "factor": 1.0,
                }
            )

    def share(self, fabric: Fabric) -> None:
        """Have the projection layers' gradients be those of all processes; `--clip` leaves them
        alone.
        """
        if self.lessons.projections is not None:
            self.lessons.projections = fabric.setup_module(self.lessons.projections)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, for last.pt."""
        layers = self.lessons.projections
        return {
            "teachers": digests(self.lessons.teachers),
            "projections": None if layers is None else layers.state_dict(),
        }

    def restore(self, kept: dict[str, Any]) -> None:
        """The projection layers as `state` has given them."""
        if self.lessons.projections is not None:
            self.lessons.projections.load_state_dict(kept["projections"])


def find_teachers(
    config: TrainConfig, parts: Parts, accelerator: str, stored: Checkpoint | None
) -> list[Teacher]:
    """The teachers that a config names, none where it names none.

    Raises `UserError` for one that is missing, damaged or of other classes, and where a resumed run
    was started with others.
    """
    teachers = load_teachers(
        config.distill.teacher or (), classes=parts.coding.classes, accelerator=accelerator
    )
    if stored and digests(teachers) != stored.training.get("distill", {}).get("teachers", []):
        raise UserError(
            f"--teacher {' '.join(map(str, config.distill.teacher or ()))}: a resumed run keeps the"
            " teachers it was started with, these have other weights; give those, or start a new"
            " run with --init"
        )
    for teacher in teachers:
        warn_of_seen(teacher.path, parts.dataset)
    return teachers


def digests(teachers: Sequence[Teacher]) -> list[str]:
    """What tells these teachers from others."""
    return [teacher.digest for teacher in teachers]


def warn_of_seen(path: Path, dataset: Dataset) -> None:
    """Say so where a teacher was trained on images that the student is judged on: what it knows of
    them reaches the student.
    """
    seen = set(read_names(find_checkpoint(path).parent, "train") or ())
    for part in ("validation", "test"):
        names = [item.name for item in dataset.parts.get(part, ()) if item.name in seen]
        if names:
            logger.warning(
                f"--teacher {path}: was trained on {len(names)} images with names of the {part}"
                f" part, such as {names[0]}; if they are the same images, the student's numbers on"
                " them are too good"
            )


def make_teaching(
    config: TrainConfig,
    parts: Parts,
    teachers: Sequence[Teacher],
    model: nn.Module,
    device: torch.device,
) -> Teaching | None:
    """Lessons of these teachers for the student `model`; None without teachers. The layers are a
    function of the seed.
    """
    if not teachers:
        return None
    options = config.distill
    torch.manual_seed(config.training.seed)
    lessons = Lessons(
        teachers, model, parts.preprocessing, kd=options.kd, temperature=options.kd_temperature
    ).to(device)
    recall = (
        _recall(config, parts, open_answers(config, parts, teachers, device))
        if options.kd_cache
        else None
    )
    return Teaching(lessons, options.kd_weight, config.model.auxiliary, recall)


def open_answers(
    config: TrainConfig, parts: Parts, teachers: Sequence[Teacher], device: torch.device
) -> np.ndarray:
    """The cached logits of the training images, float16 [N, K, H, W]."""
    data = config.data
    with progress("ask the teacher", show=config.output.progress) as advance:
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


def _recall(config: TrainConfig, parts: Parts, answers: np.ndarray) -> Recall:
    def recall(batch: Batch, parameters: Parameters) -> Tensor:
        maps = (
            torch.from_numpy(answers[batch.index]).to(batch.image.device, non_blocking=True).float()
        )
        return follow(
            maps,
            parameters,
            config.augment,
            source=tuple(batch.image.shape[1:3]),
            size=parts.preprocessing.size,
        )

    return recall

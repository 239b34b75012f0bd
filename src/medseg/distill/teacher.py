"""Trained networks that teach: frozen, in eval mode, their batch norms folded, at low precision
where the hardware has it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medseg.augment.batch import LUMA
from medseg.distill.features import at_size
from medseg.errors import UserError
from medseg.hardware import autocast, pick_precision
from medseg.preprocessing import Preprocessing
from medseg.runs import Checkpoint, Run


@dataclass
class Teacher:
    """One teacher on its device. `digest` is that of its weights and input, `precision` "fp32",
    "bf16" or "fp16".
    """

    path: Path
    network: nn.Module
    preprocessing: Preprocessing
    digest: str
    precision: str

    def look(
        self, image: Tensor, student: Preprocessing, names: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, K, H, W], float32, and the named feature maps, of images [B, C, H, W]
        normalised for the student.

        The teacher sees them with its own normalisation and at its own size, and the logits come
        back at that of the images.
        """
        logits, maps = self.answer(self.adapt(image, student), names)
        return at_size(logits, image.shape[2:]), maps

    def answer(self, image: Tensor, names: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, K, h, w], float32, and the named feature maps, of images as the teacher takes
        them.
        """
        image = image.contiguous(memory_format=torch.channels_last)
        with (
            torch.no_grad(),
            autocast(image.device.type, self.precision),
        ):  # an inference tensor could not enter a loss
            heads, maps = self.network.observe(image, names)
        return heads["main"].float(), maps

    def adapt(self, image: Tensor, student: Preprocessing) -> Tensor:
        """Images normalised for the student as the teacher takes them: channels, normalisation,
        size.

        The first two are one affine map, exact but for rounding; a grey teacher sees the luma of
        colours, a colour teacher grey three times. A teacher trained on crops has no size of its
        own and sees the size there is.
        """
        if (student.channels, student.mean, student.std) != (
            self.preprocessing.channels,
            self.preprocessing.mean,
            self.preprocessing.std,
        ):
            weight, bias = renormalisation(student, self.preprocessing, image.device)
            image = (
                F.conv2d(image, weight[:, :, None, None], bias)
                if student.channels != self.preprocessing.channels
                else image * weight.diagonal()[:, None, None] + bias[:, None, None]
            )
        return (
            image
            if self.preprocessing.resize == "native-crop"
            else at_size(image, self.preprocessing.size)
        )


@functools.lru_cache  # the same every step: copied to the device once
def renormalisation(
    student: Preprocessing, teacher: Preprocessing, device: torch.device
) -> tuple[Tensor, Tensor]:
    """float32 [T, S] and [T]: what turns the student's normalised channels into the teacher's, as
    weight @ x + bias.
    """
    (mean_s, std_s), (mean_t, std_t) = (
        tuple(torch.tensor(x, dtype=torch.float64) for x in (each.mean, each.std))
        for each in (student, teacher)
    )
    if student.channels == teacher.channels:
        mixing = torch.eye(student.channels, dtype=torch.float64)
    elif teacher.channels == 1:
        mixing = torch.tensor([LUMA], dtype=torch.float64)
    else:
        mixing = torch.ones(teacher.channels, 1, dtype=torch.float64)
    weight, bias = mixing * std_s / std_t[:, None], (mixing @ mean_s - mean_t) / std_t
    return weight.float().to(device), bias.float().to(device)


def load_teachers(paths: Sequence[Path], *, classes: int, accelerator: str) -> list[Teacher]:
    """The teachers of runs or checkpoints, on the CPU.

    Raises `UserError` for one that is missing or damaged, and for one of another number of classes.
    """
    teachers = []
    for path in paths:
        try:
            run = Run.open(path)
        except UserError as error:
            raise UserError(f"--teacher {error}") from None
        checkpoint = run.checkpoint
        if checkpoint.classes != classes:
            raise UserError(
                f"--teacher {path}: knows {checkpoint.classes} classes, the data set has {classes};"
                f" give a teacher of {classes} classes"
            )
        network = run.network("cpu").requires_grad_(False)
        teachers.append(
            Teacher(
                path,
                network,
                checkpoint.preprocessing,
                digest(checkpoint),
                pick_precision("auto", accelerator),
            )
        )
    return teachers


def digest(checkpoint: Checkpoint) -> str:
    """A hash of the network, its weights and its input: what decides a teacher's answers."""
    total = hashlib.blake2b(
        json.dumps(
            [checkpoint.network, checkpoint.preprocessing.to_dict()], sort_keys=True
        ).encode(),
        digest_size=16,
    )
    for name, value in sorted(checkpoint.weights.items()):
        total.update(name.encode())
        total.update(value.contiguous().view(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def together(answers: Sequence[Tensor]) -> Tensor:
    """The logits of an ensemble from those of each teacher, [B, K, H, W]: log of the mean of their
    probabilities.

    One teacher's logits stay as they are.
    """
    if len(answers) == 1:
        return answers[0]
    return (
        torch.stack([x.log_softmax(1) for x in answers]).logsumexp(0)
        - torch.tensor(float(len(answers))).log()
    )

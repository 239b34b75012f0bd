"""Trained networks that teach a student.

They are frozen, in eval mode, with folded batch norms, at low precision where the hardware has it.
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
from medseg.data.masks import IGNORED, MaskCoding
from medseg.distill.features import at_size
from medseg.errors import UserError
from medseg.hardware import autocast, pick_precision
from medseg.preprocessing import Preprocessing
from medseg.runs import Checkpoint, Run


@dataclass
class Teacher:
    """One teacher on its device.

    `digest` is that of its weights and input, `precision` "fp32", "bf16" or "fp16".
    """

    path: Path
    network: nn.Module
    preprocessing: Preprocessing
    digest: str
    precision: str

    def look(
        self, image: Tensor, student: Preprocessing, names: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, K, H, W], float32, and the named feature maps, for the student's images.

        `image` [B, C, H, W] is normalised for the student. The teacher sees it with its own
        normalisation and at its own size, and the logits come back at the size of the image.
        """
        logits, maps = self.answer(self.adapt(image, student), names)
        return at_size(logits, image.shape[2:]), maps

    def answer(self, image: Tensor, names: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, K, h, w], float32, and the named maps, of images as the teacher takes them."""
        image = image.contiguous(memory_format=torch.channels_last)
        # no_grad and not inference_mode, whose tensors could not enter a loss
        with torch.no_grad(), autocast(image.device.type, self.precision):
            heads, maps = self.network.observe(image, names)
        return heads["main"].float(), maps

    def adapt(self, image: Tensor, student: Preprocessing) -> Tensor:
        """The student's images as the teacher takes them: channels, normalisation, size.

        The first two are one affine map, exact but for rounding. A grey teacher sees the luma of
        colours, a colour teacher grey three times. A teacher trained on crops has no size of its
        own and sees the size there is.
        """
        own = self.preprocessing
        if (student.channels, student.mean, student.std) != (own.channels, own.mean, own.std):
            weight, bias = renormalisation(student, own, image.device)
            if student.channels != own.channels:
                image = F.conv2d(image, weight[:, :, None, None], bias)
            else:
                image = image * weight.diagonal()[:, None, None] + bias[:, None, None]
        return image if own.resize == "native-crop" else at_size(image, own.size)


@functools.lru_cache  # the same every step: copied to the device once
def renormalisation(
    student: Preprocessing, teacher: Preprocessing, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Weight float32 [T, S] and bias [T] from the student's normalised channels to the teacher's.

    The teacher's channels are weight @ x + bias.
    """
    mean_s = torch.tensor(student.mean, dtype=torch.float64)
    std_s = torch.tensor(student.std, dtype=torch.float64)
    mean_t = torch.tensor(teacher.mean, dtype=torch.float64)
    std_t = torch.tensor(teacher.std, dtype=torch.float64)
    if student.channels == teacher.channels:
        mixing = torch.eye(student.channels, dtype=torch.float64)
    elif teacher.channels == 1:
        mixing = torch.tensor([LUMA], dtype=torch.float64)
    else:
        mixing = torch.ones(teacher.channels, 1, dtype=torch.float64)
    weight = mixing * std_s / std_t[:, None]
    bias = (mixing @ mean_s - mean_t) / std_t
    return weight.float().to(device), bias.float().to(device)


def load_teachers(paths: Sequence[Path], *, coding: MaskCoding, accelerator: str) -> list[Teacher]:
    """The teachers of runs or checkpoints, on the CPU.

    Raises `UserError` for one that is missing or damaged, and for one of other classes than those
    of the masks, or of the same in another order.
    """
    teachers = []
    for path in paths:
        try:
            run = Run.open(path)
        except UserError as error:
            raise UserError(f"--teacher {error}") from None
        checkpoint = run.checkpoint
        _check_classes(path, checkpoint, coding)
        teachers.append(
            Teacher(
                path,
                run.network("cpu").requires_grad_(False),
                checkpoint.preprocessing,
                digest(checkpoint),
                pick_precision("auto", accelerator),
            )
        )
    return teachers


def _check_classes(path: Path, teacher: Checkpoint, coding: MaskCoding) -> None:
    """`UserError` where an output of the teacher stands for another class than the student's.

    Names decide where both have some. Else a stored value that both sets of masks hold has to be
    one class; what is ignored in one of them says nothing of the other.
    """
    if teacher.classes != coding.classes:
        raise UserError(
            f"--teacher {path}: knows {teacher.classes} classes, the data set has"
            f" {coding.classes}; give a teacher of {coding.classes} classes"
        )
    plain = MaskCoding(teacher.mask_kind, teacher.classes, "", names=teacher.class_names)
    kept = MaskCoding.from_dict(teacher.coding) if teacher.coding else plain
    if kept.names and coding.names:
        if kept.names != coding.names:
            raise UserError(
                f"--teacher {path}: knows the classes {', '.join(kept.names)}, the data set has"
                f" {', '.join(coding.names)}; give a teacher of the same classes in the same order"
            )
        return
    before, now = dict(kept.table), dict(coding.table)
    for value in kept.contradicted(coding):
        if IGNORED not in (before[value], now[value]):
            raise UserError(
                f"--teacher {path}: was trained with masks in which {value} is class"
                f" {before[value]}, here it is class {now[value]}; give a teacher of the same"
                " classes in the same order, or name the classes of both in dataset.yaml"
            )


def digest(checkpoint: Checkpoint) -> str:
    """A hash of the network, its weights and its preprocessing, which decide its logits."""
    options = [checkpoint.network, checkpoint.preprocessing.to_dict()]
    total = hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=16)
    for name, value in sorted(checkpoint.weights.items()):
        total.update(name.encode())
        total.update(value.contiguous().view(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """The logits [B, K, H, W] of an ensemble: log of the mean of the teachers' probabilities.

    The logits of a single teacher stay as they are.
    """
    if len(logits) == 1:
        return logits[0]
    log_probabilities = torch.stack([x.log_softmax(1) for x in logits])
    return log_probabilities.logsumexp(0) - torch.tensor(float(len(logits))).log()

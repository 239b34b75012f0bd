"""What one training step minimises: modules over the network, (batch) -> (loss, parts).

Supervised, deep-supervised and distilled training are three tasks over one loop. Fabric wraps the
task, so that precision and processes apply to its forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medseg.config import TrainConfig
from medseg.distill.loss import DistillationLoss
from medseg.losses import HybridLoss, hybrid_loss
from medseg.losses.common import Divisor

Parts = dict[str, Tensor]  # the parts of a loss by name: scalars without gradient


class TaskBatch:
    """The input of a task: augmented images float32 [B, C, H, W] and masks uint8 [B, H, W].

    `teacher_logits` float32 [B, K, H, W] are those of the teachers, where they are kept on disk.
    `divisors` are what the terms of the loss divide by, where that is more than this batch decides.
    Not a dataclass: Fabric casts the tensors of one to the precision of the network, and teachers
    see the images in float32.
    """

    def __init__(
        self,
        image: Tensor,
        mask: Tensor,
        teacher_logits: Tensor | None = None,
        divisors: Mapping[str, Divisor] | None = None,
    ) -> None:
        self.image, self.mask, self.teacher_logits = image, mask, teacher_logits
        self.divisors = divisors


class ForwardPass(nn.Module):
    """One pass of the network for all that a task needs of it; this module is what is compiled."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, image: Tensor, features: Sequence[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The logits of every head and the feature maps of these names."""
        return self.network.observe(image, features)


class SupervisedTask(nn.Module):
    """The loss of the network's logits against the mask."""

    def __init__(self, network: nn.Module, loss: HybridLoss) -> None:
        super().__init__()
        self.forward_pass = ForwardPass(network)
        self.loss = loss

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""
        return self.forward_pass.network

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Parts]:
        """The loss, a scalar with gradient, and its parts."""
        heads, _ = self.predict(batch.image)
        with torch.autocast(batch.image.device.type, enabled=False):
            return self.loss_of(heads, batch)

    def predict(
        self, image: Tensor, features: Sequence[str] = ()
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The logits of every head and the feature maps of these names, all float32.

        The network computes in the precision of the autocast around the call, images included.
        """
        device = image.device.type
        if torch.is_autocast_enabled(device):
            image = image.to(torch.get_autocast_dtype(device))
        heads, maps = self.forward_pass(image, features)
        return _float32(heads), _float32(maps)

    def loss_of(self, heads: dict[str, Tensor], batch: TaskBatch) -> tuple[Tensor, Parts]:
        """The loss of logits that are there already."""
        return self.loss(heads["main"], batch.mask, batch.divisors)


class DeepSupervisedTask(SupervisedTask):
    """The loss of the main output plus that of each auxiliary head times its weight.

    The weights are 1 by default. All heads of our networks are at full resolution, so the mask
    needs no resizing.
    """

    def __init__(
        self, network: nn.Module, loss: HybridLoss, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__(network, loss)
        self.weights = weights

    def loss_of(self, heads: dict[str, Tensor], batch: TaskBatch) -> tuple[Tensor, Parts]:
        """The weighted sum over heads; its parts are those of the main loss and each head's."""
        total, parts = super().loss_of(heads, batch)
        auxiliary = {name: logits for name, logits in heads.items() if name != "main"}
        weights = self.weights or [1.0] * len(auxiliary)
        for weight, (name, logits) in zip(weights, auxiliary.items(), strict=True):
            extra, _ = self.loss(logits, batch.mask, batch.divisors)
            total = total + weight * extra
            parts = parts | {name: extra.detach()}
        return total, parts


class DistilledTask(nn.Module):
    """The loss of another task plus `weight` times the distillation loss, from one pass.

    The main logits alone are distilled, also of a student with auxiliary heads. At weight 0 this is
    the other task's loss, with the parts of the distillation loss to look at.
    """

    def __init__(
        self, task: SupervisedTask, distillation_loss: DistillationLoss, weight: float
    ) -> None:
        super().__init__()
        self.task, self.distillation_loss, self.weight = task, distillation_loss, weight

    @property
    def network(self) -> nn.Module:
        """The student."""
        return self.task.network

    @property
    def forward_pass(self) -> ForwardPass:
        """The student's pass."""
        return self.task.forward_pass

    @property
    def loss(self) -> HybridLoss:
        """The student's loss against the mask."""
        return self.task.loss

    def forward(self, batch: TaskBatch) -> tuple[Tensor, Parts]:
        """The loss, a scalar with gradient, and its parts."""
        heads, features = self.task.predict(batch.image, self.distillation_loss.names)
        with torch.autocast(batch.image.device.type, enabled=False):
            loss, parts = self.task.loss_of(heads, batch)
        added, more = self.distillation_loss(
            heads["main"], features, batch.image, batch.teacher_logits
        )
        return loss + self.weight * added, parts | more


def make_task(
    config: TrainConfig, network: nn.Module, distillation_loss: DistillationLoss | None = None
) -> SupervisedTask | DistilledTask:
    """The task that a config asks for, distilled where there is a distillation loss."""
    loss = hybrid_loss(config.loss)
    if config.model.auxiliary:
        task = DeepSupervisedTask(network, loss, config.model.auxiliary_weights)
    else:
        task = SupervisedTask(network, loss)
    if distillation_loss is None:
        return task
    return DistilledTask(task, distillation_loss, config.distill.kd_weight)


def _float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in tensors.items()}

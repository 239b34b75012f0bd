"""The distillation loss: what teachers add to a student's loss, and its projection layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medseg.distill import FEATURE_TERMS, LOGIT_TERMS, TEMPERED, parse_kd
from medseg.distill.features import Pair, Projections, at_size, pair_features
from medseg.distill.teacher import Teacher, mean_logits
from medseg.models.blocks import SegmentationNetwork
from medseg.preprocessing import Preprocessing

Maps = dict[str, Tensor]  # feature maps [B, C, h, w] by name
Term = Callable[..., Tensor]


class DistillationLoss(nn.Module):
    """The weighted sum of distillation terms of a student's logits and feature maps.

    Terms on logits compare with the mean of the teachers' probabilities, terms on features are
    means over teachers: `attention` over all strides that student and teacher have in common,
    `cwd-features` at the coarsest, which is where the backbone ends. `names` are the student's
    feature maps that are needed. `projections` is None where no map has to change its width; it is
    trained with the student and belongs to no checkpoint of it. The teachers are not submodules:
    their weights are neither trained nor moved by `to`.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        student: nn.Module,
        preprocessing: Preprocessing,
        *,
        kd: str,
        temperature: float,
    ) -> None:
        super().__init__()
        self.teachers, self.preprocessing = list(teachers), preprocessing
        self.terms, self.temperature = parse_kd(kd), temperature
        of_features = [name for _, name in self.terms if name in FEATURE_TERMS]
        self.pairs: list[list[Pair]] = [[] for _ in self.teachers]  # of each teacher
        if of_features:
            self.pairs = [self._pair(teacher, student) for teacher in self.teachers]
        self.names = sorted({pair.student for pairs in self.pairs for pair in pairs})
        self.projections: Projections | None = None
        if "cwd-features" in of_features:
            channels = [pairs[-1].channels for pairs in self.pairs]
            if any(ours != theirs for ours, theirs in channels):
                self.projections = Projections(channels)

    def _pair(self, teacher: Teacher, student: SegmentationNetwork) -> list[Pair]:
        """The feature maps of both networks that belong together, the finest first."""
        image = torch.zeros(1, self.preprocessing.channels, *self.preprocessing.size)
        images = (
            image.to(_device(student)),
            teacher.adapt(image, self.preprocessing).to(_device(teacher.network)),
        )
        return pair_features(student, teacher.network, images)

    def forward(
        self,
        logits: Tensor,
        features: Maps,
        image: Tensor,
        teacher_logits: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, a scalar with gradient, and its terms {"kd-kl": scalar, ...}, unweighted.

        `logits` [B, K, H, W] and `features` are the student's for `image` [B, C, H, W], all
        float32. With `teacher_logits` [B, K, H, W] no teacher is run. The projections compute in
        the precision of the autocast around the call, everything else in float32.
        """
        maps: list[Maps] = []
        with torch.autocast(logits.device.type, enabled=False):
            if teacher_logits is None:
                teacher_logits, maps = self._run_teachers(image)
        parts = {}
        for _, name in self.terms:
            if name in LOGIT_TERMS:
                parts[name] = self._term(LOGIT_TERMS[name], name, [(logits, teacher_logits)])
            elif name == "cwd-features":
                parts[name] = self._term(FEATURE_TERMS[name], name, self._coarsest(features, maps))
            else:
                parts[name] = self._term(FEATURE_TERMS[name], name, self._strides(features, maps))
        total = sum(weight * parts[name] for weight, name in self.terms)
        return total, {f"kd-{name}": part.detach() for name, part in parts.items()}

    def _term(self, term: Term, name: str, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """The mean of a term over pairs of student and teacher, a scalar in float32."""
        options = {"temperature": self.temperature} if name in TEMPERED else {}
        with torch.autocast(pairs[0][0].device.type, enabled=False):
            each = [term(student, teacher, **options) for student, teacher in pairs]
            return each[0] if len(each) == 1 else torch.stack(each).mean()

    def _run_teachers(self, image: Tensor) -> tuple[Tensor, list[Maps]]:
        """The teachers' mean logits, and the feature maps of each."""
        answers = [
            teacher.look(image, self.preprocessing, [pair.teacher for pair in pairs])
            for teacher, pairs in zip(self.teachers, self.pairs, strict=True)
        ]
        return mean_logits([logits for logits, _ in answers]), [maps for _, maps in answers]

    def _coarsest(self, features: Maps, maps: Sequence[Maps]) -> list[tuple[Tensor, Tensor]]:
        """The student's coarsest map and that of each teacher, of one width and size, float32."""
        coarsest = [pairs[-1] for pairs in self.pairs]
        ours = [pair.of_student(features).float() for pair in coarsest]
        if self.projections is not None:
            ours = [projected.float() for projected in self.projections(ours)]
        found = []
        for student, pair, teacher_maps in zip(ours, coarsest, maps, strict=True):
            teacher = pair.of_teacher(teacher_maps).float()
            found.append((student, at_size(teacher, student.shape[2:])))
        return found

    def _strides(self, features: Maps, maps: Sequence[Maps]) -> list[tuple[Tensor, Tensor]]:
        """The maps of the student and of each teacher at each stride that they have in common."""
        found = []
        for pairs, teacher_maps in zip(self.pairs, maps, strict=True):
            found += [(pair.of_student(features), pair.of_teacher(teacher_maps)) for pair in pairs]
        return found


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device

"""What the teachers add to a student's loss, and the projection layers that this needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.distill import FEATURE_TERMS, LOGIT_TERMS, TEMPERED, parse_kd
from medseg.distill.features import Pair, Projections, at_size, pair_features
from medseg.distill.teacher import Teacher, together
from medseg.models.blocks import SegmentationNetwork
from medseg.preprocessing import Preprocessing


class Lessons:
    """The weighted sum of distillation terms, a function of what the student gives and of the
    images.

    Terms on logits take the teachers together (the mean of their probabilities), terms on features
    are means over teachers: `attention` over all strides that student and teacher have in common,
    `cwd-features` at the coarsest, which is where the backbone ends. `names` are the student's
    feature maps that are needed. `projections` is None where no map has to change its width; it is
    trained with the student and belongs to no checkpoint of it.
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
        self.teachers, self.preprocessing, self.temperature = (
            list(teachers),
            preprocessing,
            temperature,
        )
        self.terms = parse_kd(kd)
        of_features = [name for _, name in self.terms if name in FEATURE_TERMS]
        self.pairs = (
            [self._pairs(teacher, student) for teacher in self.teachers] if of_features else []
        )
        self.names = sorted({pair.student for pairs in self.pairs for pair in pairs})
        coarsest = [pairs[-1] for pairs in self.pairs] if "cwd-features" in of_features else []
        self.projections: nn.Module | None = None
        if any(pair.channels[0] != pair.channels[1] for pair in coarsest):
            self.projections = Projections([pair.channels for pair in coarsest])

    def _pairs(self, teacher: Teacher, student: SegmentationNetwork) -> list[Pair]:
        image = torch.zeros(1, self.preprocessing.channels, *self.preprocessing.size)
        inputs = (
            image.to(next(student.parameters()).device),
            teacher.adapt(image, self.preprocessing).to(_device(teacher)),
        )
        return pair_features(student, teacher.network, inputs)

    def to(self, device: torch.device) -> Lessons:
        """Teachers and projections moved to the device."""
        for module in (self.projections, *(teacher.network for teacher in self.teachers)):
            if module is not None:
                module.to(device)
        return self

    def __call__(
        self,
        logits: Tensor,
        features: dict[str, Tensor],
        image: Tensor,
        recalled: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, a scalar with gradient, and its bare terms {"kd-kl": scalar, ...}.

        `logits` [B, K, H, W] and `features` are the student's for `image` [B, C, H, W]; `recalled`
        are the teachers' logits where they are known already, and then no teacher is asked.
        """
        seen = (
            [
                teacher.look(image, self.preprocessing, [pair.teacher for pair in pairs])
                for teacher, pairs in zip(
                    self.teachers, self.pairs or [()] * len(self.teachers), strict=True
                )
            ]
            if recalled is None
            else []
        )
        with torch.autocast(logits.device.type, enabled=False):
            answer = together([found for found, _ in seen]) if recalled is None else recalled
            parts = {}
            for _, name in self.terms:
                options = {"temperature": self.temperature} if name in TEMPERED else {}
                if name in LOGIT_TERMS:
                    parts[name] = LOGIT_TERMS[name](logits, answer, **options)
                else:
                    each = [
                        FEATURE_TERMS[name](*maps, **options)
                        for maps in self._maps(name, features, [m for _, m in seen])
                    ]
                    parts[name] = torch.stack(each).mean()
            total = sum(weight * parts[name] for weight, name in self.terms)
        return total, {f"kd-{name}": part.detach() for name, part in parts.items()}

    def _maps(
        self, name: str, features: dict[str, Tensor], seen: Sequence[dict[str, Tensor]]
    ) -> list[tuple[Tensor, Tensor]]:
        """The maps of student and teacher that a term compares, the same number for each teacher's."""
        pairs = [list(pairs[-1:] if name == "cwd-features" else pairs) for pairs in self.pairs]
        maps = [
            pair.of(features, theirs)
            for some, theirs in zip(pairs, seen, strict=True)
            for pair in some
        ]
        if name != "cwd-features":
            return maps
        ours, theirs = zip(*((a.float(), b.float()) for a, b in maps), strict=True)
        if self.projections is not None:
            ours = self.projections(ours)
        return [(a, at_size(b, a.shape[2:])) for a, b in zip(ours, theirs, strict=True)]


def _device(teacher: Teacher) -> torch.device:
    return next(teacher.network.parameters()).device

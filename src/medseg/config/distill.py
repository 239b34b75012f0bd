"""What teachers add to the loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import option


@dataclass(frozen=True, kw_only=True)
class Distill:
    """What a trained network, the teacher, adds to the loss."""

    teacher: tuple[Path, ...] | None = option(
        None,
        "run or checkpoint to learn from; several, or the flag repeated, form an ensemble",
        metavar="RUN|PATH",
    )
    kd: str = option(
        "kl",
        "weighted sum of kl, mse, cwd, dist, boundary, attention, cwd-features, such as kl+0.5*cwd",
    )
    kd_temperature: float = option(
        4.0,
        "temperature that logits are divided by in kl, cwd, dist, boundary and cwd-features",
        above=0,
    )
    kd_weight: float = option(1.0, "weight of this sum relative to the loss", at_least=0)
    kd_cache: bool = option(
        False,
        "run the teacher once per image, before augmentation, and warp its output as the mask is"
        " warped; not for attention and cwd-features",
    )

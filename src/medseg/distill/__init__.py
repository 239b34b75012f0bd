"""Distillation: a student learns from trained networks, the teachers, as well as from masks.

The sum of terms is written like a loss, `kl+0.5*cwd`. Terms on logits compare with the mean of the
teachers' probabilities, terms on features are means over the teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from medseg.config import Distill
from medseg.distill.features import attention
from medseg.distill.logits import boundary, cwd, dist, kl, mse
from medseg.errors import UserError
from medseg.losses.expression import parse_sum
from medseg.runs import find_checkpoint

LOGIT_TERMS: dict[str, Callable[..., Tensor]] = {
    "kl": kl,
    "mse": mse,
    "cwd": cwd,
    "dist": dist,
    "boundary": boundary,
}
FEATURE_TERMS: dict[str, Callable[..., Tensor]] = {
    "attention": attention,
    "cwd-features": cwd,
}
TERMS = LOGIT_TERMS | FEATURE_TERMS
TEMPERED = ("kl", "cwd", "dist", "boundary", "cwd-features")


def parse_kd(expression: str) -> list[tuple[float, str]]:
    """`"kl+0.5*cwd"` to [(1.0, "kl"), (0.5, "cwd")]; `UserError` for a wrong expression."""
    return parse_sum(
        expression, TERMS, flag="--kd", what="distillation term", example="kl or kl+0.5*cwd"
    )


def check(config: Distill, resize: str) -> None:
    """`UserError` for options that do not go together, and for a teacher that is not there.

    `resize` is the student's resize policy.
    """
    terms = [name for _, name in parse_kd(config.kd)]
    if not config.teacher:
        _check_without_teacher(config)
        return
    tempered = any(name in TEMPERED for name in terms)
    if config.kd_temperature != Distill.kd_temperature and not tempered:
        raise UserError(
            f"--kd-temperature applies to {', '.join(TEMPERED)}; --kd {config.kd} uses none of"
            " them; leave the option out or add such a term"
        )
    if config.kd_cache:
        _check_cache(terms, resize)
    for path in config.teacher:
        try:
            find_checkpoint(path)
        except UserError as error:
            raise UserError(f"--teacher {error}") from None


def _check_without_teacher(config: Distill) -> None:
    """`UserError` for an option of distillation without a teacher."""
    for name in ("kd", "kd_temperature", "kd_weight", "kd_cache"):
        value = getattr(config, name)
        if value != getattr(Distill, name):
            shown = "" if value is True else f" {value}"
            raise UserError(
                f"--{name.replace('_', '-')}{shown}: needs a network to learn from; add"
                " --teacher RUN"
            )


def _check_cache(terms: Sequence[str], resize: str) -> None:
    """`UserError` where the teachers' logits cannot be kept."""
    of_features = [name for name in terms if name in FEATURE_TERMS]
    if of_features:
        raise UserError(
            f"--kd-cache: keeps logits, and {of_features[0]} needs feature maps; leave one of the"
            " two out"
        )
    if resize == "native-crop":
        raise UserError(
            "--kd-cache: works with --resize square and letterbox, not with native-crop, whose"
            " crop changes in every epoch"
        )

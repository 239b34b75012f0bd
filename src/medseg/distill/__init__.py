"""Distillation: a trained network, the teacher, says more of each pixel than its mask does.

The sum of terms is written like a loss, `kl+0.5*cwd`. Terms on logits take what the teachers say
together, terms on features are averages over the teachers.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from medseg.config.schema import Distill
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
    """`"kl+0.5*cwd"` to [(1.0, "kl"), (0.5, "cwd")]. Raises `UserError` for a wrong expression."""
    return parse_sum(
        expression, TERMS, flag="--kd", what="distillation term", example="kl or kl+0.5*cwd"
    )


def check(config: Distill, resize: str) -> None:
    """`UserError` for options that do not go together, for the student's `resize` policy, and for a
    teacher that is not there.
    """
    terms = [name for _, name in parse_kd(config.kd)]
    if not config.teacher:
        for flag, value, default in (
            ("--kd", config.kd, Distill.kd),
            ("--kd-temperature", config.kd_temperature, Distill.kd_temperature),
            ("--kd-weight", config.kd_weight, Distill.kd_weight),
            ("--kd-cache", config.kd_cache, Distill.kd_cache),
        ):
            if value != default:
                raise UserError(
                    f"{flag}{'' if value is True else f' {value}'}: needs a network to learn from;"
                    " add --teacher RUN"
                )
        return
    if config.kd_temperature != Distill.kd_temperature and not any(
        name in TEMPERED for name in terms
    ):
        raise UserError(
            f"--kd-temperature applies to {', '.join(TEMPERED)}; --kd {config.kd} uses none of"
            " them; leave the option out or add such a term"
        )
    of_features = [name for name in terms if name in FEATURE_TERMS]
    if config.kd_cache and of_features:
        raise UserError(
            f"--kd-cache: keeps logits, and {of_features[0]} needs feature maps; leave one of the"
            " two out"
        )
    if config.kd_cache and resize == "native-crop":
        raise UserError(
            "--kd-cache: works with --resize square and letterbox, not with the changing parts of a"
            " native-crop"
        )
    for path in config.teacher:
        try:
            find_checkpoint(path)
        except UserError as error:
            raise UserError(f"--teacher {error}") from None

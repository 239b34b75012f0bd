"""How long a training runs, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.config.fields import count_or_auto, duration, option, whole_numbers


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, how often it is validated, and what is kept."""

    epochs: int = option(100, "passes over the training images", at_least=1)
    batch_size: int = option(
        16,
        "images per step over all devices; auto: the largest that fits in memory, up to 32 per"
        " process",
        parse=count_or_auto,
        metavar="N|auto",
    )
    time_budget: float | None = option(
        None,
        "stop after this time, such as 30min; the schedule ends with it",
        parse=duration,
        metavar="TIME",
    )
    val_interval: int = option(1, "epochs between validations", at_least=1)
    val_start: int = option(0, "epochs before the first validation", at_least=0)
    val_batch_size: int | None = option(
        None, "images per validation step on each device (default: as in training)", at_least=1
    )
    patience: int = option(
        0,
        "early stopping: validations without a better score before training stops; 0: never",
        at_least=0,
    )
    select: str = option(
        "best", "weights to keep: the best on validation, or the last", choices=("best", "last")
    )
    metric: str = option(
        "dice",
        "validation metric that selects the best weights (per image, foreground)",
        choices=("dice", "iou"),
    )
    seed: int = option(0, "seed of weights, order and augmentation", at_least=0, at_most=2**31 - 1)
    seeds: tuple[int, ...] | None = option(
        None,
        "train once for each of these seeds, such as 0,1,2, and report mean and spread",
        parse=whole_numbers,
        metavar="N,N,...",
    )

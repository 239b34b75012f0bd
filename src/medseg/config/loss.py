"""What training minimises."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.config.fields import option


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What training minimises."""

    loss: str = option("ce+dice", "weighted sum of terms, such as 0.5*focal+tversky+0.1*boundary")
    class_weights: tuple[float, ...] | None = option(
        None, "weight of each class, background first", at_least=0
    )
    label_smoothing: float = option(
        0.0, "share of the target that is spread over all classes", at_least=0, at_most=0.5
    )
    ohem_threshold: float = option(
        0.7,
        "ohem: pixels predicted with less confidence than this count as hard",
        above=0,
        at_most=1,
    )
    focal_gamma: float = option(2.0, "focal: focusing exponent", at_least=0)
    tversky_alpha: float = option(0.3, "tversky: weight of false positives", at_least=0)
    tversky_beta: float = option(0.7, "tversky: weight of false negatives", at_least=0)

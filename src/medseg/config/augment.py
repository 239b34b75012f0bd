"""How training images are changed at random."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.config.fields import option


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Strength of each random change of a training image; 0 turns it off."""

    augment: bool = option(True, "augment the training images")
    scale: tuple[float, float] = option(
        (0.75, 1.5), "zoom factor: lowest and highest", above=0, at_most=10
    )
    translate: float = option(
        0.1,
        "shift, as a share of the size, beyond the room that zooming in leaves",
        at_least=0,
        at_most=1,
    )
    rotate: float = option(
        30.0, "largest rotation in degrees, in either direction", at_least=0, at_most=180
    )
    hflip: float = option(0.5, "probability of a horizontal flip", at_least=0, at_most=1)
    vflip: float = option(0.5, "probability of a vertical flip", at_least=0, at_most=1)
    brightness: float = option(0.2, "brightness factor within 1 +/- this", at_least=0, at_most=1)
    contrast: float = option(0.2, "contrast factor within 1 +/- this", at_least=0, at_most=1)
    saturation: float = option(0.2, "saturation factor within 1 +/- this", at_least=0, at_most=1)
    hue: float = option(0.02, "hue shift, as a share of the colour circle", at_least=0, at_most=0.5)
    blur: float = option(
        0.0,
        "largest sigma of a Gaussian blur, in pixels, applied to a random half of the images",
        at_least=0,
        at_most=5,
    )

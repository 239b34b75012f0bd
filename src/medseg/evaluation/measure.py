"""Everything that `--protocols all` measures on one image, and its summary over a set.

Several classes count as one foreground here; pixels that the reference ignores count as background
in both masks, and are in no calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.config import EvaluateConfig
from medseg.evaluation import calibration, distances, lesions
from medseg.evaluation.published import PUBLISHED
from medseg.statistics.bootstrap import Sums


def measuring(config: EvaluateConfig) -> dict[str, Any] | None:
    """The settings of `measure_image`; None where only the basic conventions are asked for."""
    if config.protocols == "basic":
        return None
    return {"spacing": config.spacing, "tolerance": config.tolerance}


def measure_image(
    probability: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    spacing: Sequence[float] = (1.0, 1.0),
    tolerance: float = 2.0,
    ignore_index: int = 255,
) -> dict[str, Any]:
    """The values of each measure on one image.

    Foreground probability float32 [H, W], class maps uint8 [H, W] of prediction and truth.
    """
    valid = truth != ignore_index
    mask, found = (truth > 0) & valid, (prediction > 0) & valid
    shown = np.where(valid, probability, np.float32(0))
    band = calibration.near_boundary(mask) & valid
    return {
        "published": {name: each.measure(shown, mask) for name, each in PUBLISHED.items()},
        "distances": distances.distances(found, mask, spacing=spacing, tolerance=tolerance),
        "lesions": lesions.lesions(found, mask),
        "bins": calibration.bins(probability[valid], mask[valid]),
        "boundary_bins": calibration.bins(probability[band], mask[band]),
        "empty": (not found.any(), not mask.any()),
        "settings": {"spacing": list(spacing), "tolerance": tolerance},
    }


def row_of(measured: dict[str, Any]) -> dict[str, float]:
    """The columns of per_image.csv: distances, lesions, and the Dice of published conventions."""
    of_lesions = measured["lesions"]
    row = {
        **measured["distances"],
        "lesions": len(of_lesions["shares"]),
        "lesions_matched": int(of_lesions["matched"].sum()),
        "lesions_predicted": of_lesions["predicted"],
    }
    for name, convention in PUBLISHED.items():
        if convention.image_dice:
            row[f"dice_{name}"] = convention.image_dice(measured["published"][name])
    return row


def quantities(images: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], Sums]:
    """Numerators and denominators of every mean and ratio of `summarise_measured`.

    By their path in summary.json.
    """
    empty = np.array([image["empty"] for image in images])
    found: dict[tuple[str, ...], Sums] = {}
    for name, convention in PUBLISHED.items():
        sums = convention.sums([image["published"][name] for image in images])
        found |= {("protocols", name, key): each for key, each in sums.items()}
    sums = distances.quantities([image["distances"] for image in images], ~empty.any(axis=1))
    found |= {("distances", key): each for key, each in sums.items()}
    sums = lesions.quantities([image["lesions"] for image in images])
    found |= {("lesions", *path): each for path, each in sums.items()}
    for part, bins in (("all", "bins"), ("boundary", "boundary_bins")):
        sums = calibration.quantities([image[bins] for image in images])
        found |= {("calibration", part, key): each for key, each in sums.items()}
    return found


def summarise_measured(images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The blocks of summary.json: published protocols, distances, lesions, calibration."""
    empty = np.array([image["empty"] for image in images])
    of_distances = [image["distances"] for image in images]
    return {
        "protocols": {
            name: convention.summarise([image["published"][name] for image in images])
            for name, convention in PUBLISHED.items()
        },
        "distances": (
            distances.summarise(of_distances, empty[:, 0], empty[:, 1]) | images[0]["settings"]
        ),
        "lesions": lesions.summarise([image["lesions"] for image in images]),
        "calibration": calibration.summary_of(
            [image["bins"] for image in images], [image["boundary_bins"] for image in images]
        ),
    }

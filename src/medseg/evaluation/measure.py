"""Everything that `--protocols all` measures on one image, and its summary over a set.

Several classes count as one foreground here; pixels that the reference ignores count as background
in both masks, and are in no calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.config import EvaluateConfig
from medseg.evaluation import calibration, distances, lesions, published
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
    """Foreground probability float32 [H, W], class maps uint8 [H, W] of prediction and truth, to
    the values of each measure.
    """
    valid = truth != ignore_index
    mask, found = (truth > 0) & valid, (prediction > 0) & valid
    shown = np.where(valid, probability, np.float32(0))
    band = calibration.near_boundary(mask) & valid
    return {
        "published": {
            name: convention(shown, mask) for name, convention in published.PUBLISHED.items()
        },
        "distances": distances.distances(found, mask, spacing=spacing, tolerance=tolerance),
        "lesions": lesions.lesions(found, mask),
        "bins": calibration.bins(probability[valid], mask[valid]),
        "boundary_bins": calibration.bins(probability[band], mask[band]),
        "empty": (not found.any(), not mask.any()),
        "settings": {"spacing": list(spacing), "tolerance": tolerance},
    }


def row_of(measured: dict[str, Any]) -> dict[str, float]:
    """The columns of per_image.csv: distances, lesions, and the Dice of each published convention."""
    of_lesions = measured["lesions"]
    return {
        **measured["distances"],
        "lesions": len(of_lesions["shares"]),
        "lesions_matched": int(of_lesions["matched"].sum()),
        "lesions_predicted": of_lesions["predicted"],
        **{
            f"dice_{name}": published.image_dice(name, values)
            for name, values in measured["published"].items()
            if name != "ducknet-352"
        },
    }


def quantities(images: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], Sums]:
    """Numerators and denominators of every mean and ratio of `summarise_measured`, by its path in
    summary.json.
    """
    empty = np.array([image["empty"] for image in images])
    found = {
        ("protocols", name, key): sums
        for name in published.PUBLISHED
        for key, sums in published.quantities(
            name, [image["published"][name] for image in images]
        ).items()
    }
    found |= {
        ("distances", key): sums
        for key, sums in distances.quantities(
            [image["distances"] for image in images], ~empty.any(axis=1)
        ).items()
    }
    found |= {
        ("lesions", *path): sums
        for path, sums in lesions.quantities([image["lesions"] for image in images]).items()
    }
    return found | {
        ("calibration", part, key): sums
        for part, bins in (("all", "bins"), ("boundary", "boundary_bins"))
        for key, sums in calibration.quantities([image[bins] for image in images]).items()
    }


def summarise_measured(images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The blocks of summary.json: protocols (the published ones), distances, lesions, calibration."""
    empty = np.array([image["empty"] for image in images])
    return {
        "protocols": {
            name: published.summarise(name, [image["published"][name] for image in images])
            for name in published.PUBLISHED
        },
        "distances": (
            distances.summarise([image["distances"] for image in images], empty[:, 0], empty[:, 1])
            | images[0]["settings"]
        ),
        "lesions": lesions.summarise([image["lesions"] for image in images]),
        "calibration": calibration.summary_of(
            [image["bins"] for image in images], [image["boundary_bins"] for image in images]
        ),
    }

"""95 % intervals of every mean and ratio of a summary, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.evaluation.conventions import sums_from_counts
from medseg.evaluation.lesions import size_quantities
from medseg.statistics.bootstrap import FEW, LEVEL, Sums, group_index, intervals, of_mean

TAIL = 0.5  # Dice below which an image is in the left tail
UNBOUNDED = {  # all else lies in 0 to 1
    "hd95",
    "assd",
    "hd95_detected",
    "assd_detected",
    "false_positives_per_frame",
}


def summary_intervals(
    counts: np.ndarray,
    groups: Sequence[str | None],
    rows: Sequence[dict[str, Any]] = (),
    further: Mapping[tuple[str, ...], Sums] | None = None,
) -> dict[str, Any]:
    """What summary.json says under "intervals", for confusion counts int64 [N, K, K] and groups.

    {"level", "method", "unit": "group" or "image", "n_images", "n_groups" (None where no group is
    known; an image without one is a group of its own), "notes", "protocols": {convention: {metric:
    [low, high]}}}, NaN where a metric is undefined or there are fewer than two units. With the rows
    of per_image.csv there are "by_size" and "left_tail" too; `further`
    quantities come by their path in the summary.
    """
    found = {("protocols", *path): sums for path, sums in sums_from_counts(counts).items()}
    found |= further or {}
    if rows:
        found |= row_quantities(rows)
    return about(groups) | ends_of(found, groups)


def row_quantities(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], Sums]:
    """The table by lesion size and the left tail, by their path in the summary."""
    dice = np.array([row["dice"] for row in rows], float)
    in_tail = np.where(np.isnan(dice), np.nan, dice < TAIL)
    found = {("by_size", *path): sums for path, sums in size_quantities(rows).items()}
    return found | {("left_tail", "share"): of_mean(in_tail)}


def left_tail(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """{"below", "images", "share"}: images with a Dice below one half, of those that have one."""
    dice = np.array([row["dice"] for row in rows], float)
    low, defined = int((dice < TAIL).sum()), int((~np.isnan(dice)).sum())
    return {"below": TAIL, "images": low, "share": low / defined if defined else np.nan}


def ends_of(found: Mapping[tuple[str, ...], Sums], groups: Sequence[str | None]) -> dict[str, Any]:
    """The intervals of quantities by path, as a tree; distances have no upper bound."""
    bounds = {path: (0.0, np.inf) for path in found if path[-1] in UNBOUNDED}
    return nested(intervals(found, groups, bounds=bounds))


def about(groups: Sequence[str | None]) -> dict[str, Any]:
    """How an interval over images of these groups comes about."""
    known = [group for group in groups if group is not None]
    units = len(np.unique(group_index(groups, len(groups))))
    notes = []
    if not known:
        notes.append(
            "no groups known: images are resampled as if they were independent, which frames of one"
            " video are not"
        )
    elif len(known) < len(groups):
        notes.append(
            f"{len(groups) - len(known)} images without a known group are groups of their own"
        )
    if units == 1:
        notes.append(_why_none(len(groups), known))
    elif units < FEW:
        notes.append(
            f"{units} independent units: with fewer than {FEW} the interval covers less than it"
            " claims"
        )
    return {
        "level": LEVEL,
        "method": "studentised bootstrap",
        "unit": "group" if known else "image",
        "n_images": len(groups),
        "n_groups": units if known else None,
        "notes": notes,
    }


def _why_none(images: int, known: Sequence[str]) -> str:
    """Why one group, such as the centre that was left out, has no interval.

    Its images can be resampled, and the interval would be narrow, but about a question that nobody
    asks: it leaves out by how much the next group differs, which is most of what is not known.
    """
    if not known or images == 1:
        return "no interval: one image does not show by how much images differ"
    return (
        f"no interval: all {images} images are of one group ({known[0]}), which does not show by"
        " how much groups differ; images of one group are not independent, and resampling them"
        " would claim more than is known. Several groups evaluated together have one (--folds all),"
        " and so have finer groups, such as patients, in groups.csv"
    )


def nested(found: Mapping[tuple[str, ...], tuple[float, float]]) -> dict[str, Any]:
    """Intervals by path, such as (convention, metric), as dictionaries of dictionaries."""
    tree: dict[str, Any] = {}
    for (*path, name), ends in found.items():
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[name] = list(ends)
    return tree


def headline(summary: dict[str, Any]) -> str:
    """The mean Dice of a summary with its interval and what that is over, in a line."""
    numbers = summary["protocols"]["per-image-foreground"]
    made = summary.get("intervals") or {}
    ends = made.get("protocols", {}).get("per-image-foreground", {}).get("dice")
    low, high = ends or (np.nan, np.nan)
    interval = ", no interval: one group," if made.get("n_groups") == 1 else ""
    if low is not None and np.isfinite(low):
        over = f"{made['n_groups']} groups" if made.get("n_groups") else "images, no groups known"
        interval = f" (95 % {low:.4f} to {high:.4f}, over {over})"
    return (
        f"dice {numbers['dice']:.4f}{interval} iou {numbers['iou']:.4f} per image, foreground,"
        f" n={summary['n_images']}"
    )

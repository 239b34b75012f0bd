"""Confusion counts of every image of a part, and the class maps that pictures need."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from medseg.data.batches import evaluation_batches
from medseg.data.cache import Store
from medseg.inference.backends import Backend
from medseg.inference.postprocess import classify, margins, probabilities
from medseg.metrics.counts import confusion

Measure = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class Decision:
    """How probabilities become classes."""

    classes: int
    threshold: float = 0.5  # of the foreground, with two classes
    temperature: float = 1.0


@dataclass
class Counted:
    """counts: int64 [N, K, K] by position (rows truth, columns prediction); masks: class maps."""

    counts: np.ndarray
    masks: dict[int, np.ndarray] = field(default_factory=dict)


def count(
    backend: Backend,
    store: Store,
    decision: Decision,
    *,
    batch_size: int,
    shard: tuple[int, int] = (0, 1),
    keep: Collection[int] = (),
    measure: Measure | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Counted:
    """Confusion counts of the images in `store` at the native size of each mask.

    `shard` is (rank, processes): each process counts its share, and the rows of the others stay
    zero, so that the sum over processes is whole. `keep` names positions whose class maps are
    returned too. `measure` is called for each image with its position, its foreground probability
    float32 [H, W], and uint8 [H, W] prediction and truth. The counts are read from the device once,
    at the end.
    """
    rank, world = shard
    order: list[np.ndarray] = []
    counts: list[Tensor] = []
    masks: dict[int, np.ndarray] = {}
    for index, image in evaluation_batches(
        store, batch_size=batch_size, device=backend.device, rank=rank, world=world
    ):
        natives = [store.native[i] for i in index]
        batch_margins = margins(backend.logits(image), natives, backend.preprocessing)
        for i, margin in zip(index, batch_margins, strict=True):
            truth = np.array(store.mask(i))
            predicted = classify(margin, decision.threshold, decision.temperature)
            counts.append(_confusion(predicted, truth, decision))
            if i in keep:
                masks[int(i)] = predicted.cpu().numpy()
            if measure:
                foreground = 1 - probabilities(margin, decision.temperature)[0]
                measure(int(i), foreground.cpu().numpy(), predicted.cpu().numpy(), truth)
        order.append(index)
        if progress:
            progress(len(counts), len(store))
    total = np.zeros((len(store), decision.classes, decision.classes), np.int64)
    if counts:
        total[np.concatenate(order)] = torch.cat(counts).cpu().numpy()
    return Counted(total, masks)


def _confusion(predicted: Tensor, truth: np.ndarray, decision: Decision) -> Tensor:
    """int64 [1, K, K] on the device of the prediction."""
    target = torch.from_numpy(truth).to(predicted.device, non_blocking=True)
    return confusion(predicted[None], target[None], decision.classes)

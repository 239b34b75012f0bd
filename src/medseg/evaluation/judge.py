"""Counts of every image of a part, and the class maps that pictures need."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from medseg.checkpoint import Input
from medseg.data.batches import evaluation_batches
from medseg.data.cache import Store
from medseg.metrics.counts import confusion
from medseg.prediction.inference import classify, forward, margins, probabilities


@dataclass
class Judged:
    """counts: int64 [N, K, K] by position in the store (rows truth, columns prediction); masks:
    kept class maps.
    """

    counts: np.ndarray
    masks: dict[int, np.ndarray] = field(default_factory=dict)


def judge(
    model: nn.Module,
    store: Store,
    given: Input,
    *,
    classes: int,
    device: torch.device,
    precision: str,
    batch_size: int,
    threshold: float = 0.5,
    ignore_index: int = 255,
    rank: int = 0,
    world: int = 1,
    keep: Collection[int] = (),
    temperature: float = 1.0,
    measure: Callable[[int, np.ndarray, np.ndarray, np.ndarray], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Judged:
    """Confusion counts of the images in `store` at the native size of each mask.

    With several processes each judges its share, and the rows of the others stay zero: the sum over
    processes is whole. `keep` names positions whose class maps are returned too. `measure` is
    called for each image with its position, its foreground probability float32 [H, W] at
    `temperature`, and uint8 [H, W] prediction and truth. The counts are read from the device once,
    at the end.
    """
    mean, std = given.constants(device)
    was_training = model.training
    model.eval()
    where: list[np.ndarray] = []
    counts: list[torch.Tensor] = []
    masks: dict[int, np.ndarray] = {}
    for index, image in evaluation_batches(
        store, batch_size=batch_size, device=device, rank=rank, world=world
    ):
        logits = forward(model, image, mean, std, precision)
        for i, margin in zip(
            index, margins(logits, [store.native[i] for i in index], given), strict=True
        ):
            predicted = classify(margin, threshold, temperature)
            truth = torch.from_numpy(np.array(store.mask(i))).to(device, non_blocking=True)
            counts.append(
                confusion(predicted[None], truth[None], classes, ignore_index=ignore_index)
            )
            if i in keep:
                masks[int(i)] = predicted.cpu().numpy()
            if measure:
                foreground = 1 - probabilities(margin, temperature)[0]
                measure(
                    int(i),
                    foreground.cpu().numpy(),
                    predicted.cpu().numpy(),
                    np.array(store.mask(i)),
                )
        where.append(index)
        if progress:
            progress(len(counts), len(store))
    model.train(was_training)
    total = np.zeros((len(store), classes, classes), np.int64)
    if counts:
        total[np.concatenate(where)] = torch.cat(counts).cpu().numpy()
    return Judged(total, masks)

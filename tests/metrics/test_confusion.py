from __future__ import annotations

import pytest
import torch

from medseg.metrics.counts import confusion


def by_hand(
    prediction: torch.Tensor, target: torch.Tensor, classes: int, ignore_index: int
) -> list:
    counts = [[[0] * classes for _ in range(classes)] for _ in target]
    for n, (predicted, truth) in enumerate(zip(prediction.tolist(), target.tolist(), strict=True)):
        for p_row, t_row in zip(predicted, truth, strict=True):
            for p, t in zip(p_row, t_row, strict=True):
                if t != ignore_index:
                    counts[n][t][p] += 1
    return counts


@pytest.mark.parametrize("classes", [2, 3, 20])
@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
@pytest.mark.parametrize("ignore_index", [255, 0])
def test_counts_by_hand(classes: int, kind: torch.dtype, ignore_index: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    prediction = torch.randint(0, classes, (3, 11, 7), generator=generator).to(kind)
    target = torch.randint(0, classes, (3, 11, 7), generator=generator)
    target[:, 2:4] = ignore_index
    prediction[:, 3] = (
        255 if ignore_index == 255 else 0
    )  # anything may stand where the target is ignored
    counts = confusion(prediction, target.to(kind), classes, ignore_index=ignore_index)
    assert counts.dtype == torch.int64 and counts.shape == (3, classes, classes)
    assert counts.tolist() == by_hand(prediction, target, classes, ignore_index)


def test_rows_are_truth_and_columns_prediction() -> None:
    target, prediction = torch.tensor([[[0, 0, 0, 1]]]), torch.tensor([[[0, 1, 1, 1]]])
    assert confusion(prediction, target, 2).tolist() == [[[1, 2], [0, 1]]]


def test_no_image_and_nothing_but_ignored() -> None:
    none = torch.zeros(0, 4, 4, dtype=torch.uint8)
    assert confusion(none, none, 2).shape == (0, 2, 2)
    ignored = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    assert confusion(torch.zeros_like(ignored), ignored, 2).sum() == 0


def test_nothing_waits_for_the_device() -> None:
    """Tensors of the meta device have no values: reading one on the host raises."""
    maps = torch.empty(3, 8, 8, dtype=torch.uint8, device="meta")
    assert confusion(maps, maps, 2).shape == (3, 2, 2)

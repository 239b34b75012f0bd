"""Each convention against a plain loop over masks, and the rules for images without foreground."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medseg.errors import UserError
from medseg.evaluation.conventions import FROM_COUNTS, macro_to_foreground, per_image, summarise
from medseg.metrics.counts import confusion


def masks(classes: int, images: int = 7):
    """Reference and prediction [N, H, W]; the first has no foreground, the second in neither, the
    third only missed.
    """
    generator = torch.Generator().manual_seed(classes)
    truth = torch.randint(0, classes, (images, 12, 10), generator=generator)
    right = torch.rand(truth.shape, generator=generator) < 0.7
    prediction = torch.where(
        right, truth, torch.randint(0, classes, truth.shape, generator=generator)
    )
    truth[0] = truth[1] = prediction[1] = prediction[2] = 0
    truth[3][truth[3] == classes - 1] = 0
    prediction[3][prediction[3] == classes - 1] = 0
    truth[:, :2] = 255
    return prediction, truth


def outcomes(prediction: torch.Tensor, truth: torch.Tensor, k: int) -> tuple[int, int, int, int]:
    pairs = [
        (p == k, t == k)
        for p, t in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True)
        if t != 255
    ]
    return tuple(
        pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))
    )


RATIOS = {
    "dice": lambda tp, fp, fn, tn: (2 * tp, 2 * tp + fp + fn),
    "iou": lambda tp, fp, fn, tn: (tp, tp + fp + fn),
    "precision": lambda tp, fp, fn, tn: (tp, tp + fp),
    "recall": lambda tp, fp, fn, tn: (tp, tp + fn),
    "specificity": lambda tp, fp, fn, tn: (tn, tn + fp),
}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def class_values(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    name: str,
    classes: range,
    absent: float | None = None,
) -> list:
    pairs = [RATIOS[name](*outcomes(prediction, truth, k)) for k in classes]
    values = [part / whole if whole else absent for part, whole in pairs]
    return [value for value in values if value is not None]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", RATIOS)
def test_conventions_by_hand(classes: int, name: str) -> None:
    prediction, truth = masks(classes)
    counts = confusion(prediction, truth, classes).numpy()
    found = {key: each.summarise(counts)[name] for key, each in FROM_COUNTS.items()}
    foreground = range(1, classes)

    images = [class_values(p, t, name, foreground) for p, t in zip(prediction, truth, strict=True)]
    if name in ("dice", "iou"):
        images = [values or [1.0] for values in images]
        assert images[0] == [0.0] * (classes - 1) and images[1] == [1.0]
    assert found["per-image-foreground"] == pytest.approx(
        mean([mean(values) for values in images if values])
    )
    assert found["pooled-foreground"] == pytest.approx(
        mean(class_values(prediction, truth, name, foreground))
    )
    assert found["macro-with-background"] == pytest.approx(
        mean(class_values(prediction, truth, name, range(classes)))
    )
    assert len({round(value, 4) for value in found.values()}) == 3
    assert (
        summarise(counts, "abcdefg")["protocols"]["pooled-foreground"][name]
        == found["pooled-foreground"]
    )


def test_a_class_that_is_nowhere() -> None:
    """Skipped, but 0 in the macro IoU, as in the toolkit of that convention."""
    counts = np.array([[[80, 5, 0], [5, 10, 0], [0, 0, 0]]])
    pooled, macro = (
        FROM_COUNTS["pooled-foreground"].summarise(counts),
        FROM_COUNTS["macro-with-background"].summarise(counts),
    )
    assert pooled["dice"] == pytest.approx(20 / 30) and pooled["iou"] == pytest.approx(10 / 20)
    assert macro["dice"] == pytest.approx((160 / 170 + 20 / 30) / 2)
    assert macro["iou"] == pytest.approx((80 / 90 + 10 / 20 + 0) / 3)


def test_a_set_without_any_foreground() -> None:
    counts = np.array([[[100, 0], [0, 0]]] * 2)
    for convention in ("per-image-foreground", "pooled-foreground"):
        found = FROM_COUNTS[convention].summarise(counts)
        assert found["dice"] == found["iou"] == found["specificity"] == 1
        assert math.isnan(found["precision"]) and math.isnan(found["recall"])


@pytest.mark.parametrize(("classes", "empty", "undefined"), [(2, (3, 2, 1), 3), (3, (2, 1, 1), 2)])
def test_empty_masks_are_counted(classes: int, empty: tuple, undefined: int) -> None:
    """With two classes the fourth image of `masks` has no foreground either."""
    prediction, truth = masks(classes)
    summary = summarise(confusion(prediction, truth, classes), "abcdefg")
    found = summary["empty_masks"]
    assert (found["reference_empty"], found["both_empty"], found["false_alarms"]) == empty
    assert "1 if the prediction is empty too, else 0" in found["policy"]
    assert summary["undefined_images"] == {
        "precision": undefined,
        "recall": undefined,
        "specificity": 0,
    }


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_are_the_images_of_the_per_image_convention(classes: int) -> None:
    prediction, truth = masks(classes)
    counts = confusion(prediction, truth, classes).numpy()
    rows = per_image(counts, "abcdefg")
    assert [row["name"] for row in rows] == list("abcdefg")
    for name, value in FROM_COUNTS["per-image-foreground"].summarise(counts).items():
        assert value == pytest.approx(
            mean([row[name] for row in rows if not math.isnan(row[name])])
        )
    for row, p, t in zip(rows, prediction, truth, strict=True):
        joined = outcomes(p.clamp(max=1), torch.where(t == 255, t, t.clamp(max=1)), 1)
        assert (row["tp"], row["fp"], row["fn"], row["tn"]) == joined
    assert ("dice_2" in rows[0]) == (classes == 3) and ("dice_1" in rows[0]) == (classes == 3)
    if classes == 3:
        assert rows[4]["dice"] == pytest.approx((rows[4]["dice_1"] + rows[4]["dice_2"]) / 2)
        assert rows[3]["dice"] == rows[3]["dice_1"] and math.isnan(rows[3]["dice_2"])


def test_names_must_fit() -> None:
    with pytest.raises(ValueError, match="2 counts for 1 names"):
        per_image(np.zeros((2, 2, 2), int), ["a"])


@pytest.mark.parametrize(
    ("dice", "iou", "foreground"),
    [(0.9515, 0.9094, 0.918), (0.7551, 0.6600, 0.532), (0.6524, 0.5748, 0.329)],
)
def test_foreground_dice_of_published_macro_pairs(
    dice: float, iou: float, foreground: float
) -> None:
    assert macro_to_foreground(dice, iou)[0] == pytest.approx(foreground, abs=5e-4)


def test_macro_conversion_is_exact() -> None:
    counts = np.array([[[900, 30], [20, 50]], [[800, 10], [90, 100]]])
    macro = FROM_COUNTS["macro-with-background"].summarise(counts)
    foreground, background = macro_to_foreground(macro["dice"], macro["iou"])
    assert foreground == pytest.approx(
        FROM_COUNTS["pooled-foreground"].summarise(counts)["dice"], abs=1e-9
    )
    assert (foreground + background) / 2 == pytest.approx(macro["dice"])
    assert macro_to_foreground(1.0, 1.0) == (1.0, 1.0)


@pytest.mark.parametrize(("dice", "iou"), [(0.942, 0.887), (95.15, 90.94), (0.6, 0.59), (0.5, 0.9)])
def test_impossible_macro_pairs(dice: float, iou: float) -> None:
    with pytest.raises(UserError, match="no pair of pooled classes"):
        macro_to_foreground(dice, iou)

"""Lesions counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.evaluation.lesions import by_size, lesions, summarise


def picture(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((100, 100), bool)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = True
    return mask


SMALL, MEDIUM, LARGE = (5, 5, 10, 10), (30, 5, 20, 20), (50, 50, 40, 40)


def test_matches_recall_and_false_positives() -> None:
    truth = picture(SMALL, MEDIUM, LARGE)
    predicted = picture(SMALL, (30, 5, 20, 7), LARGE, (5, 80, 2, 2))  # the medium one has IoU .35
    found = lesions(predicted, truth)
    assert (
        found["matched"].tolist() == [True, False, True] and found["touched"].tolist() == [True] * 3
    )
    empty, alarm = lesions(picture(), picture()), lesions(picture(SMALL, MEDIUM), picture())
    summary = summarise([found, empty, alarm, lesions(picture(), picture(SMALL))])
    assert (summary["lesions"], summary["predicted"], summary["matched"]) == (4, 6, 2)
    assert (
        summary["recall"] == 2 / 4
        and summary["precision"] == 2 / 6
        and summary["touched_recall"] == 3 / 4
    )
    assert summary["false_positives_per_frame"] == 4 / 4
    assert {name: each["recall"] for name, each in summary["by_size"].items()} == {
        "small": 0.5,
        "medium": 0.0,
        "large": 1.0,
    }
    assert (
        summary["empty_frames"],
        summary["false_alarm_frames"],
        summary["false_alarm_rate"],
    ) == (2, 1, 0.5)


def test_a_looser_match() -> None:
    assert lesions(picture((30, 5, 20, 7)), picture(MEDIUM), iou=0.3)["matched"].all()


def test_one_region_is_one_match() -> None:
    """A prediction over two lesions finds the one it fits best, and a lesion in two pieces is found
    once.
    """
    both = lesions(picture((10, 10, 10, 42)), picture((10, 10, 10, 20), (10, 32, 10, 20)), iou=0.1)
    assert both["matched"].sum() == 1 and both["predicted"] == 1
    pieces = lesions(picture((10, 10, 10, 9), (10, 21, 10, 9)), picture((10, 10, 10, 20)), iou=0.1)
    assert pieces["matched"].tolist() == [True] and pieces["predicted"] == 2


def test_diagonal_neighbours_are_one_lesion() -> None:
    assert len(lesions(picture(), picture((10, 10, 5, 5), (15, 15, 5, 5)))["shares"]) == 1
    assert len(lesions(picture(), picture((10, 10, 5, 5), (16, 15, 5, 5)))["shares"]) == 2


def test_nothing_to_divide_by() -> None:
    summary = summarise([lesions(picture(SMALL), picture(SMALL))])
    assert math.isnan(summary["false_alarm_rate"]) and math.isnan(
        summary["by_size"]["large"]["recall"]
    )
    assert math.isnan(summarise([lesions(picture(), picture())])["recall"])


def test_rows_by_size() -> None:
    rows = [
        {"tp": tp, "fn": 0, "fp": 0, "tn": 1000 - tp, "dice": dice}
        for tp, dice in ((0, 1.0), (19, 0.2), (20, 0.4), (99, 0.8), (100, 0.9))
    ]
    found = {row["size"]: (row["images"], row["dice"], row["below_half"]) for row in by_size(rows)}
    assert found == {
        "none": (1, 1.0, 0.0),
        "small": (1, 0.2, 1.0),
        "medium": (2, pytest.approx(0.6), 0.5),
        "large": (1, 0.9, 0.0),
    }


def test_a_lesion_takes_one_region_only() -> None:
    """The second region fits the found lesion better than the other one, and is left to the other
    one.
    """
    truth = picture((10, 10, 10, 20), (10, 32, 10, 40))
    predicted = picture(
        (10, 10, 10, 12), (10, 23, 10, 12)
    )  # IoU .6 and, for the second, .29 and .06
    assert lesions(predicted, truth, iou=0.05)["matched"].tolist() == [True, True]


def test_sizes_begin_at_their_lower_end() -> None:
    summary = summarise([lesions(picture(), picture((0, 0, 10, 20), (40, 0, 20, 50)))])
    assert {name: each["lesions"] for name, each in summary["by_size"].items()} == {
        "small": 0,
        "medium": 1,
        "large": 1,
    }

"""The intervals of the conventions are of the very numbers that the conventions give, and the stamp
says what the split is.
"""

from __future__ import annotations

import csv
import functools
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import medseg
from medseg.data.sample import Dataset, Item
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.groups import groups_of
from medseg.evaluation.conventions import FROM_COUNTS, per_image, summarise
from medseg.evaluation.intervals import UNBOUNDED, ends_of, headline, left_tail, summary_intervals
from medseg.evaluation.lesions import by_size
from medseg.evaluation.measure import measure_image, quantities, summarise_measured
from medseg.evaluation.stamp import split_stamp, stamp_of_seen
from medseg.statistics import bootstrap


def counts_of(classes: int, images: int = 40, absent: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(classes)
    counts = rng.integers(0, 40, (images, classes, classes))
    counts += np.eye(classes, dtype=int) * rng.integers(50, 900, (images, 1, classes))
    counts[0, 1:] = counts[1, 1:] = counts[1, :, 1:] = 0
    if absent is not None:
        counts[:, absent] = counts[:, :, absent] = 0
    return counts


@pytest.mark.parametrize(("classes", "absent"), [(2, None), (3, None), (3, 2)])
def test_each_interval_is_centred_on_its_number(classes, absent, monkeypatch) -> None:
    """The value inside `intervals` is the convention's, for every metric: read off where all draws
    are the set itself.
    """
    counts = counts_of(classes, absent=absent)
    seen = {}

    def spy(quantities, groups=None, **options):
        for name, (above, below) in quantities.items():
            above, below = (each.reshape(len(counts), -1) for each in (above, below))
            seen[name[1:]] = float(bootstrap._ratio(np.ones((1, len(counts))), above, below)[0][0])
        return bootstrap.intervals(quantities, groups, **options)

    monkeypatch.setattr("medseg.evaluation.intervals.intervals", spy)
    found = summary_intervals(counts, [None] * len(counts))["protocols"]
    for convention, protocol in FROM_COUNTS.items():
        for name, value in protocol.summarise(counts).items():
            assert seen[convention, name] == pytest.approx(value), (convention, name)
            low, high = found[convention][name]
            assert low <= value <= high and high - low < 0.2


def measured_images(count: int = 24) -> list[dict]:
    """Measurements of soft blobs beside their references: missed, invented, empty and several
    lesions among them.
    """
    rng = np.random.default_rng(1)
    found = []
    for i in range(count):
        truth, shown = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.float32)
        if i % 6:
            x, y, radius = rng.integers(15, 65), rng.integers(15, 45), int(rng.integers(3, 14))
            cv2.circle(truth, (int(x), int(y)), radius, 1, -1)
            if i % 4:
                cv2.circle(shown, (int(x) + int(rng.integers(-4, 5)), int(y)), radius, 1.0, -1)
        if i % 6 in (0, 5) and i % 12:
            cv2.circle(shown, (70, 50), 4, 1.0, -1)
        probability = cv2.GaussianBlur(shown, (0, 0), 2) * np.float32(0.9)
        found.append(measure_image(probability, (probability > 0.5).astype(np.uint8), truth))
    return found


COUNTS = {
    "missed",
    "false_alarms",
    "both_empty",
    "tolerance",
    "lesions",
    "predicted",
    "matched",
    "empty_frames",
    "false_alarm_frames",
    "pixels",
    "bins",
    "probability",
    "foreground",
}


def means_of(tree: dict, path: tuple = ()) -> dict[tuple, float]:
    """The means and ratios of a summary by path: all numbers but counts, settings and the points of
    the diagram.
    """
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= means_of(value, (*path, key))
        elif (
            isinstance(value, (int, float))
            and key not in COUNTS
            and (*path, key) != ("lesions", "iou")
        ):
            found[*path, key] = value
    return found


def test_every_mean_of_all_protocols_has_an_interval_centred_on_it() -> None:
    images = measured_images()
    numbers, found = means_of(summarise_measured(images)), quantities(images)
    assert set(found) == set(numbers) and len(numbers) > 40
    for path, (above, below) in found.items():
        value = above.sum() / below.sum()
        assert value == pytest.approx(numbers[path], abs=1e-12, nan_ok=True), path
    ends = ends_of(found, [None] * len(images))
    for path, value in numbers.items():
        low, high = functools.reduce(lambda tree, key: tree[key], path, ends)
        assert low <= value + 1e-9 and value - 1e-9 <= high and low >= 0, path
        assert high <= 1 or path[-1] in UNBOUNDED, path
    assert (
        ends["distances"]["hd95"][1] > 1
        and ends["distances"]["hd95"] != ends["distances"]["hd95_detected"]
    )


def test_an_interval_needs_two_units_that_count() -> None:
    """One image of a size, or one group with lesions, says nothing of the spread."""
    values = np.array([0.4, math.nan, math.nan, math.nan])
    assert all(map(math.isnan, bootstrap.mean_interval(values)))
    pooled = {"recall": (np.array([3.0, 2.0, 0, 0]), np.array([4.0, 2.0, 0, 0]))}
    assert all(map(math.isnan, bootstrap.intervals(pooled, ["a", "a", "b", "c"])["recall"]))
    low, high = bootstrap.intervals(pooled, ["a", "b", "c", "c"])["recall"]
    assert low < 5 / 6 < high


def test_sizes_and_the_left_tail_have_intervals() -> None:
    rows = per_image(counts_of(2), list(map(str, range(40))))
    tail = left_tail(rows)
    found = summary_intervals(counts_of(2), [None] * 40, rows)
    assert (
        tail["images"] == sum(row["dice"] < 0.5 for row in rows) > 0
        and tail["share"] == tail["images"] / 40
    )
    assert found["left_tail"]["share"][0] < tail["share"] < found["left_tail"]["share"][1]
    for line in by_size(rows):
        low, high = found["by_size"][line["size"]]["dice"]
        assert line["images"] < 2 or low <= line["dice"] <= high


def test_a_set_without_foreground_has_no_pooled_interval() -> None:
    found = summary_intervals(np.array([[[100, 0], [0, 0]]] * 5), [None] * 5)["protocols"]
    assert found["per-image-foreground"]["dice"] == [1, 1]
    assert all(map(math.isnan, found["pooled-foreground"]["dice"]))


def test_what_is_said_of_the_groups() -> None:
    counts = counts_of(2)
    videos = [str(i // 4) for i in range(40)]
    known, unknown, some = (
        summary_intervals(counts, groups)
        for groups in (videos, [None] * 40, videos[:36] + [None] * 4)
    )
    assert (known["unit"], known["n_groups"], known["n_images"]) == ("group", 10, 40)
    assert "fewer than 30" in known["notes"][0]
    assert (unknown["unit"], unknown["n_groups"]) == (
        "image",
        None,
    ) and "no groups known" in unknown["notes"][0]
    assert some["n_groups"] == 13 and "4 images without a known group" in some["notes"][0]
    summary = summarise(counts, list(map(str, range(40)))) | {"n_images": 40, "intervals": known}
    assert "over 10 groups" in headline(summary) and "over images" in headline(
        summary | {"intervals": unknown}
    )
    assert "95 %" not in headline(summary | {"intervals": summary_intervals(counts[:1], [None])})
    assert "95 %" not in headline(
        {key: value for key, value in summary.items() if key != "intervals"}
    )


def dataset(**parts: str) -> Dataset:
    """One image a letter; letters are groups, - is an image without a known one."""

    def items(part: str, letters: str) -> tuple[Item, ...]:
        return tuple(
            Item(f"{part}{i}", None, (), None if each == "-" else each)
            for i, each in enumerate(letters)
        )

    return Dataset("set", "mine", {part: items(part, letters) for part, letters in parts.items()})


@pytest.mark.parametrize(
    ("parts", "part", "verdict", "words"),
    [
        (
            {"train": "aab", "validation": "cc", "test": "dde"},
            "test",
            "grouped",
            "none of the 2 groups",
        ),
        (
            {"train": "aab", "validation": "cc", "test": "ade-"},
            "test",
            "LEAKY",
            "1 of 4 test images come from 1 group (s",
        ),
        ({"train": "aab", "validation": "cc", "test": "dc"}, "test", "LEAKY", "1 of 2"),
        (
            {"train": "aab", "validation": "bc", "test": "d"},
            "validation",
            "LEAKY",
            "with images in train",
        ),
        ({"train": "aab", "test": "d-"}, "test", "unknown", "cannot be ruled out"),
        ({"train": "---", "test": "--"}, "test", "unknown", "mine"),
        ({"train": "aab", "test": "d"}, "all", "seen", "training"),
        ({"train": "aab", "test": "d"}, "train", "seen", "training"),
    ],
)
def test_stamps(parts, part, verdict, words) -> None:
    stamp = split_stamp(dataset(**parts), part)
    assert stamp["verdict"] == verdict and words in stamp["text"]


@pytest.mark.parametrize(
    ("seen", "part", "verdict", "words"),
    [
        (["train2"], "test", "grouped", "none of the 2 groups"),
        (
            ["train2", "test1"],
            "test",
            "LEAKY",
            "1 of 3 images are among those that this run was trained on or selected by",
        ),
        (["train0"], "test", "LEAKY", "2 of 3 test images come from 1 group (s"),
        (["gone"], "test", "unknown", "cannot be ruled out"),
        (["train0"], "all", "seen", "1 of 6 images"),
    ],
)
def test_stamps_of_a_run_on_another_split_of_its_data(seen, part, verdict, words) -> None:
    stamp = stamp_of_seen(dataset(train="aab", test="aca"), part, seen)
    assert stamp["verdict"] == verdict and words in stamp["text"]


def test_stamps_of_published_splits(real) -> None:
    """Of ClinicDB's, PraNet's leaks in all 62 test frames and EndoScene's in none of 122."""
    pranet, endoscene = (
        open_dataset("cvc-clinicdb", data_root=real, split=each)
        for each in ("pranet-550-62", "endoscene-patient-disjoint")
    )
    assert split_stamp(pranet, "test")["text"].startswith("62 of 62 test images come from")
    assert split_stamp(endoscene, "test")["verdict"] == "grouped"
    assert len(set(groups_of(pranet).values())) == 29
    assert (
        split_stamp(open_dataset("cvc-clinicdb", data_root=real, split="random-80-10-10"), "test")[
            "verdict"
        ]
        == "LEAKY"
    )


def test_a_training_on_groups_says_so_everywhere(dataset, fast) -> None:
    """groups.csv beside the data reaches per_image.csv, summary.json and the page; `dataset` is
    that of conftest.
    """
    names = {
        part: sorted(path.stem for path in (dataset / part / "images").iterdir())
        for part in ("train", "validation", "test")
    }
    lines = [f"{name},{part[:2]}{i // 2}" for part in names for i, name in enumerate(names[part])]
    (dataset / "groups.csv").write_text("name,group\n" + "\n".join(lines))
    result = medseg.train(**fast | {"epochs": 1})
    summary = result["summaries"]["test"]
    assert summary["stamp"]["verdict"] == "grouped" and summary["intervals"]["n_groups"] == 3
    folder = f"{result['run']}/report/test"
    with open(f"{folder}/per_image.csv", newline="") as file:
        assert [row["group"] for row in csv.DictReader(file)] == ["te0", "te0", "te1", "te1", "te2"]
    page = Path(folder, "report.html").read_text()
    assert (
        "Split by groups" in page
        and "95 % interval" in page
        and "studentised bootstrap over 3 groups" in page
    )
    assert (
        "they come from 3 video sequences or patients, none of which was trained on" in page.lower()
    )
    assert "Software: medseg" in page and "unet" in page and "the loss ce+dice, seed 0" in page

    elsewhere = medseg.evaluate(
        result["run"], data=str(dataset), split_part="test", accelerator="cpu"
    )
    assert elsewhere["stamp"]["verdict"] == "grouped"  # the same folder, by its own name
    moved = Path(shutil.copytree(dataset, dataset.parent / "elsewhere"))
    assert (
        medseg.evaluate(result["run"], data=str(moved), accelerator="cpu")["stamp"]["verdict"]
        == "grouped"
    )  # moved: its own images by name and bytes

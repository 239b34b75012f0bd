"""Each planted fault is found by its code at its file and nowhere else; in a clean set nothing is
found.
"""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from plants import PLANTS, all_inverted, check_set, clean, image_of, mask_of, read, soft

from medseg.doctor.faults import FAULTS


def found(root, **options):
    return {
        (finding["code"], finding["name"]) for finding in check_set(root, **options)["findings"]
    }


def test_nothing_is_found_in_a_clean_set(tmp_path):
    report = check_set(clean(tmp_path / "set"))
    assert report["found"] == [] and report["findings"] == []
    assert (report["images"], report["masks"]) == (10, 10)


def test_every_code_is_planted():
    assert PLANTS.keys() == FAULTS.keys()


@pytest.mark.parametrize("code", FAULTS)
def test_a_planted_fault_is_found_by_its_code_and_nothing_else_is(tmp_path, code):
    root = clean(tmp_path / "set")
    names = PLANTS[code](root)
    assert found(root) == {(code, name) for name in names}


def test_every_code_has_a_section_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "data-check.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (MS\d{3}) · (.+)$", text, re.MULTILINE)
    assert sections == [(code, fault.title) for code, fault in FAULTS.items()]


def test_all_faults_at_once_are_all_listed(tmp_path):
    root = clean(tmp_path / "set")
    for code in ("MS001", "MS017", "MS007"):  # files 1 to 3; 4 and 5; 4
        PLANTS[code](root)
    assert {code for code, _ in found(root)} == {"MS001", "MS007", "MS017"}


def test_a_set_that_is_inverted_as_a_whole_is_one_finding(tmp_path):
    root = clean(tmp_path / "set")
    all_inverted(root)
    [finding] = check_set(root)["findings"]
    assert (finding["code"], finding["name"]) == ("MS008", "") and "10 of 10 masks" in finding[
        "text"
    ]


def test_codings_are_those_of_most_masks_unless_declared(tmp_path):
    root = clean(tmp_path / "set")
    for index in range(8):
        cv2.imwrite(str(mask_of(root, index)), read(mask_of(root, index)) // 255)
    assert check_set(root)["mask_kind"] == "binary-01"
    assert found(root) == {("MS005", "frame008"), ("MS005", "frame009")}  # 255 would be ignored
    assert found(root, mask_kind="binary-255") == {
        ("MS005", f"frame{index:03}") for index in range(8)
    }


def test_class_indices_with_ignored_pixels(tmp_path):
    root = clean(tmp_path / "set")
    for index in range(10):
        mask = read(mask_of(root, index)) // 255 * (1 + index % 3)
        mask[:2] = 255
        cv2.imwrite(str(mask_of(root, index)), mask)
    report = check_set(root)
    assert report["mask_kind"] == "index" and report["findings"] == []
    assert [row["masks"] for row in report["classes"]] == [10, 4, 3, 3]
    assert found(root, classes=3) == {("MS005", f"frame{index:03}") for index in (2, 5, 8)}


def test_masks_of_0_and_255_only_are_strangers_among_class_indices(tmp_path):
    root = clean(tmp_path / "set")
    for index in range(6):
        mask = read(mask_of(root, index)) // 255
        mask[:2] = 255
        cv2.imwrite(str(mask_of(root, index)), mask)
    assert check_set(root)["mask_kind"] == "binary-01"
    assert found(root) == {("MS005", f"frame{index:03}") for index in range(6, 10)}


@pytest.mark.parametrize(
    ("count", "highest"), [(4, 11), (7, 90)]
)  # few with a small value, or many with one no index has
def test_small_values_beside_255_are_noise_in_a_set_of_0_and_255(tmp_path, count, highest):
    root = clean(tmp_path / "set")
    for index in range(count):
        mask = read(mask_of(root, index))
        mask[:4] = np.maximum(mask[:4], 11)
        mask[0, 0] = highest if index == 0 else 11
        cv2.imwrite(str(mask_of(root, index)), mask)
    report = check_set(root)
    assert {(f["code"], f["name"]) for f in report["findings"]} == {
        ("MS005", f"frame{index:03}") for index in range(count)
    }
    assert report["classes"][1]["masks"] == 10


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1, 2, 4])
def test_a_soft_edge_is_not_ringing(tmp_path, sigma):
    root = clean(tmp_path / "set")
    for index in range(3):
        cv2.imwrite(
            str(mask_of(root, index)),
            cv2.resize(
                soft(read(mask_of(root, index)), sigma),
                None,
                fx=8,
                fy=8,
                interpolation=cv2.INTER_LINEAR,
            ),
        )
        cv2.imwrite(
            str(image_of(root, index)), cv2.resize(read(image_of(root, index)), None, fx=8, fy=8)
        )
    assert {code for code, _ in found(root)} == {"MS005"}


def test_duplicates_with_other_masks_are_told_apart(tmp_path):
    root = clean(tmp_path / "set")
    PLANTS["MS013"](root)
    assert "masks differ" not in check_set(root)["findings"][0]["text"]
    mask = read(mask_of(root, 7))
    first = np.argwhere(mask)[0]
    mask[: first[0] + 6] = 0
    cv2.imwrite(str(mask_of(root, 7)), mask)
    one, other = (read(mask_of(root, index)) > 0 for index in (1, 7))
    dice = 2 * (one & other).sum() / (one.sum() + other.sum())
    assert f"their masks differ (Dice {dice:.3f})" in check_set(root)["findings"][0]["text"]


def test_a_leak_by_lists_and_a_listed_image_that_is_missing(tmp_path):
    root = clean(tmp_path / "set")
    PLANTS["MS013"](root)  # 7 equals 1
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("frame000\nframe007\nframe099\n")
    (lists / "test.txt").write_text("frame001\nframe002\n")
    report = check_set(root, split=str(lists))
    assert {(f["code"], f["part"], f["name"]) for f in report["findings"]} == {
        ("MS014", "train", "frame007"),
        ("MS002", "train", "frame099"),
    }
    assert report["parts"] == {"train": 2, "test": 2} and report["split"] == "lists"


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_part_without_masks_does_not_stop_the_others(tmp_path, part):
    root = clean(tmp_path / "set")
    PLANTS["MS014"](root)
    for mask in (root / part / "masks").iterdir():
        mask.unlink()
    (root / part / "masks").rmdir()
    unpaired = {("MS002", "frame1")} if part == "validation" else set()  # test may be without
    assert {(code, name[:6]) for code, name in found(root)} == {("MS014", "frame0"), *unpaired}

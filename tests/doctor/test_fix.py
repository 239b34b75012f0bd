"""The copy is repaired, the source is unchanged, and a line says what was done to each pair."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from plants import PLANTS, all_inverted, check_set, clean, image_of, mask_of, read

from medseg.data.decode import read_image, read_stored_mask
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.splits import read_split
from medseg.doctor.faults import FAULTS
from medseg.doctor.repairs import UNCHANGED
from medseg.errors import UserError
from medseg.files import read_csv

# only the owner of the data can say what is right
UNDECIDED = {"MS009", "MS010", "MS012", "MS015", "MS018"}


def content(root):
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def planted(tmp_path, code):
    """A clean set, the same with a fault, its repaired copy, and the report."""
    before, root, out = clean(tmp_path / "clean"), clean(tmp_path / "set"), tmp_path / "out"
    PLANTS[code](root)
    bytes_before = content(root)
    report = check_set(root, fix=out)
    assert content(root) == bytes_before
    return before, out, report


@pytest.mark.parametrize("code", FAULTS)
def test_in_the_copy_nothing_is_found_but_what_the_user_must_decide(tmp_path, code):
    _, out, report = planted(tmp_path, code)
    again = {finding["code"] for finding in check_set(out)["findings"]}
    assert again == ({code} if code in UNDECIDED else set())
    rows = read_csv(out / "fixes.csv")
    assert {(row["code"], row["name"]) for row in rows} == {
        (f["code"], f["name"]) for f in report["findings"]
    }
    assert {row["what"] == UNCHANGED for row in rows} == {code in UNDECIDED}
    assert report["fixed"]["written"] + report["fixed"]["left_out"] >= 10


@pytest.mark.parametrize(
    ("code", "names", "least"),
    [
        ("MS003", ["frame003"], 1),
        ("MS004", ["frame001", "frame006"], 1),
        ("MS005", ["frame001", "frame002", "frame003"], 1),
        ("MS006", ["frame001", "frame002"], 0.99),
        ("MS007", ["frame004"], 0.95),
        ("MS008", ["frame004"], 1),
        ("MS011", ["frame004", "frame005"], 1),
    ],
)
def test_a_repaired_mask_is_what_it_was_before_the_fault(tmp_path, code, names, least):
    before, out, _ = planted(tmp_path, code)
    for name in names:
        one, other = (
            read_stored_mask(root / "masks" / f"{name}.png").samples for root in (before, out)
        )
        assert set(np.unique(other)) <= {0, 255} and one.shape == other.shape
        dice = 2 * ((one > 0) & (other > 0)).sum() / ((one > 0).sum() + (other > 0).sum())
        assert dice >= least


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        ("MS001", {1, 2, 3}),
        ("MS002", {1, 2, 5}),
        ("MS003", {4}),
        ("MS005", {4, 5, 6}),
        ("MS013", {7}),
        ("MS017", set()),
    ],
)
def test_what_cannot_be_used_is_left_out_and_the_rest_is_there(tmp_path, code, gone):
    _, out, report = planted(tmp_path, code)
    expected = {f"frame{index:03}" for index in range(10) if index not in gone}
    assert {path.stem for path in (out / "images").iterdir()} == expected
    assert {path.stem for path in (out / "masks").iterdir()} == expected
    assert report["fixed"]["written"] == len(expected)


def test_files_without_a_fault_are_copied_byte_for_byte(tmp_path):
    before, out, report = planted(tmp_path, "MS007")
    same = [
        index
        for index in range(10)
        if mask_of(before, index).read_bytes() == mask_of(out, index).read_bytes()
    ]
    assert same == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert all(
        image_of(before, index).read_bytes() == image_of(out, index).read_bytes()
        for index in range(10)
    )
    assert report["fixed"] == {"folder": str(out), "written": 10, "repaired": 1, "left_out": 0}


def test_images_are_rotated_upright_and_channels_made_equal(tmp_path):
    before, out, _ = planted(tmp_path, "MS004")
    for index in (1, 6):
        copy = read_image(image_of(out, index)).pixels.astype(int)
        assert np.abs(copy - read_image(image_of(before, index)).pixels).mean() < 3  # JPEG noise
    before, out, _ = planted(tmp_path / "more", "MS016")
    assert [read(image_of(out, index)).shape[2:] for index in (4, 5, 6)] == [(3,)] * 3
    copy, original = (read_image(image_of(root, 5)).pixels for root in (out, before))
    np.testing.assert_array_equal(copy, original)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("orientation", "quarters"), [(6, 1), (3, 2)])
def test_a_mask_with_a_tag_of_its_own_is_rotated_by_it_once(
    tmp_path, suffix, orientation, quarters
):
    before, root = clean(tmp_path / "clean"), clean(tmp_path / "set")
    exif = Image.Exif()
    exif[0x0112] = orientation
    mask_of(root, 1).unlink()
    Image.fromarray(np.rot90(read(mask_of(before, 1)), quarters).copy()).save(
        mask_of(root, 1).with_suffix(suffix), exif=exif
    )
    report = check_set(root, fix=tmp_path / "out")
    assert [(finding["code"], finding["name"]) for finding in report["findings"]] == [
        ("MS004", "frame001")
    ]
    np.testing.assert_array_equal(
        read_stored_mask(mask_of(tmp_path / "out", 1)).samples,
        read_stored_mask(mask_of(before, 1)).samples,
    )
    assert check_set(tmp_path / "out")["findings"] == []


def test_extensions_become_true(tmp_path):
    _, out, _ = planted(tmp_path, "MS017")
    assert (out / "images" / "frame004.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert (out / "masks" / "frame005.bmp").read_bytes()[:2] == b"BM"


def test_a_leak_leaves_train_and_the_divided_layout_stays(tmp_path):
    root = clean(tmp_path / "set")
    PLANTS["MS014"](root)
    (root / "dataset.json").write_text(
        json.dumps({"name": "Mine", "split": "by-hand", "parts": {"train": 10}})
    )
    (root / "groups.csv").write_text("name,group\nframe000,a\n")
    check_set(root, fix=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert {part: len(items) for part, items in dataset.parts.items()} == {
        "train": 9,
        "validation": 3,
        "test": 3,
    }
    assert (dataset.name, dataset.split) == ("Mine", "by-hand")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["parts"] == {
        "train": 9,
        "validation": 3,
        "test": 3,
    }
    assert dataset.parts["train"][0].group == "a"
    assert "frame004" not in {item.name for item in dataset.parts["train"]}


def test_the_lists_of_a_split_follow(tmp_path):
    root, lists = clean(tmp_path / "set"), tmp_path / "lists"
    PLANTS["MS013"](root)
    lists.mkdir()
    (lists / "train.txt").write_text("".join(f"frame{index:03}\n" for index in (0, 3, 5, 7)))
    (lists / "test.txt").write_text("frame001\nframe002\n")
    check_set(root, split=str(lists), fix=tmp_path / "out")
    assert read_split(tmp_path / "out" / "split") == {
        "train": ["frame000", "frame003", "frame005"],
        "test": ["frame001", "frame002"],
    }
    dataset = open_dataset(tmp_path / "out", split=str(tmp_path / "out" / "split"))
    assert sum(map(len, dataset.parts.values())) == 5


def test_an_ignored_code_is_not_repaired(tmp_path):
    root = clean(tmp_path / "set")
    PLANTS["MS008"](root)
    assert check_set(root, ignore="MS008", fix=tmp_path / "out")["findings"] == []
    assert mask_of(tmp_path / "out", 4).read_bytes() == mask_of(root, 4).read_bytes()


def test_a_set_inverted_as_a_whole_is_left_for_the_user_to_decide(tmp_path):
    root = clean(tmp_path / "set")
    all_inverted(root)
    check_set(root, fix=tmp_path / "out")
    assert [row["what"] for row in read_csv(tmp_path / "out" / "fixes.csv")] == [UNCHANGED]
    assert mask_of(tmp_path / "out", 4).read_bytes() == mask_of(root, 4).read_bytes()


def test_masks_of_0_and_1_stay_so_with_their_ignored_pixels(tmp_path):
    root = clean(tmp_path / "set")
    for index in range(10):
        mask = read(mask_of(root, index)) // 255
        mask[-2:] = 255
        mask[0, 0] = index == 4
        cv2.imwrite(str(mask_of(root, index)), mask)
    check_set(root, fix=tmp_path / "out")
    mask = read(mask_of(root, 4))
    mask[0, 0] = 0
    np.testing.assert_array_equal(read(mask_of(tmp_path / "out", 4)), mask)


def test_of_class_indices_only_the_place_is_repaired(tmp_path):
    root = clean(tmp_path / "set")
    for index in range(10):
        mask = read(mask_of(root, index)) // 255 * (1 + index % 3)
        mask[0, 0] = index == 4  # a speck
        if index == 5:
            mask = cv2.resize(mask, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(mask_of(root, index)), mask * (3 if index == 8 else 1))
    check_set(root, classes=4, fix=tmp_path / "out")
    rows = {
        row["name"]: (row["code"], row["what"].split(":")[0])
        for row in read_csv(tmp_path / "out" / "fixes.csv")
    }
    assert rows == {
        "frame004": ("MS011", "left unchanged"),
        "frame005": ("MS003", "mask resized to the size of its image, nearest neighbour"),
        "frame008": ("MS005", "left out"),
    }
    assert mask_of(tmp_path / "out", 4).read_bytes() == mask_of(root, 4).read_bytes()
    np.testing.assert_array_equal(
        read(mask_of(tmp_path / "out", 5)), read(mask_of(root, 5))[1::3, 1::3]
    )


def test_where_the_copy_may_not_go(tmp_path):
    root = clean(tmp_path / "set")
    before = content(root)
    with pytest.raises(UserError, match="inside the data set, which is never written to"):
        check_set(root, fix=root / "fixed")
    with pytest.raises(UserError, match="exists already and is not an empty folder"):
        check_set(root, fix=tmp_path)
    assert content(root) == before

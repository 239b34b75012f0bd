"""Masks as people have them: what is read is what was drawn, or a line names the file."""

import csv

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from scenes import pairs, scene, write

from medseg.config import CheckConfig
from medseg.config.shared import Masks
from medseg.data.masks import declared_by, read_classes, survey
from medseg.data.sources.description import Description
from medseg.data.sources.folder import open_dataset
from medseg.doctor.check import check
from medseg.errors import UserError


def read(root, **options):
    """The coding of a folder, and the class indices of each mask in it."""
    dataset = open_dataset(root)
    items = sorted(
        (item for part in dataset.parts.values() for item in part), key=lambda item: item.name
    )
    coding = survey(items, declared_by(Masks(**options), dataset.description))
    return coding, [read_classes(item, coding) for item in items]


def drawn(count=12, start=0):
    return [scene(start + index)[1] for index in range(count)]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_pixel_of_1_beside_255_is_a_slip(tmp_path):
    def stray(mask, index):
        out = mask * 255
        out[0, 0] = index == 0
        return out

    coding, found = read(pairs(tmp_path / "set", 12, stray))
    assert coding.kind == "binary-255" and "1 of them with values between" in coding.text
    assert_same(found, drawn())


@pytest.mark.parametrize("part", ["all", "test"])
def test_two_codings_in_one_set_are_refused_by_name(tmp_path, part):
    if part == "all":
        root = pairs(tmp_path / "set", 12, lambda mask, index: mask * (255 if index % 2 else 1))
    else:
        root = tmp_path / "set"
        pairs(root / "train", 12)
        pairs(root / "validation", 4, start=100)
        pairs(root / "test", 6, lambda mask, index: mask, start=200)
    with pytest.raises(UserError, match=r"masks/s\d+\.png holds 0, 1, .*s\d+\.png holds 0, 255"):
        read(root)
    report = check(CheckConfig(data=str(root), progress=False))
    assert {row["code"] for row in report["found"]} == {"MS005"}
    coding, found = read(root, class_map=("0=0", "1=1", "255=1"))
    assert coding.classes == 2 and all(set(np.unique(each)) == {0, 1} for each in found)


@pytest.mark.parametrize("value", [1, 2, 38, 100, 200, 254, 255])
def test_two_values_are_background_and_foreground_whatever_they_are(tmp_path, value):
    coding, found = read(pairs(tmp_path / "set", 12, lambda mask, index: mask * np.uint8(value)))
    assert coding.classes == 2 and f"0/{value}" in coding.text
    assert_same(found, drawn())
    report = check(CheckConfig(data=str(tmp_path / "set"), progress=False))
    assert report["found"] == [] and report["mask_kind"] == coding.kind


def test_indices_of_a_palette_count_also_where_a_file_shows_one_grey(tmp_path):
    table = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128]
    table += [128, 128, 128]
    masks = [mask * np.uint8(index % 7 + 1) for index, mask in enumerate(drawn(14))]
    for suffix in (".png", ".tif", ".bmp"):
        root = tmp_path / suffix[1:]
        (root / "masks").mkdir(parents=True)
        for index, mask in enumerate(masks):
            write(root / "images" / f"s{index:02d}.png", scene(index)[0])
            picture = Image.fromarray(mask, "P")
            picture.putpalette(table + [0] * (768 - len(table)))
            picture.save(root / "masks" / f"s{index:02d}{suffix}")
        coding, found = read(root)
        assert (coding.kind, coding.classes) == ("index", 8)
        assert_same(found, masks)


def test_a_shape_in_the_alpha_channel(tmp_path):
    (tmp_path / "masks").mkdir()
    for index, mask in enumerate(drawn()):
        write(tmp_path / "images" / f"s{index:02d}.png", scene(index)[0])
        layers = np.dstack([np.full((*mask.shape, 3), 255, np.uint8), mask * 255])
        Image.fromarray(layers, "RGBA").save(tmp_path / "masks" / f"s{index:02d}.png")
    coding, found = read(tmp_path)
    assert "in the alpha channel" in coding.text
    assert_same(found, drawn())


def void(value):
    def coding(mask, index):
        out = (mask * (index % 2 + 1)).astype(np.uint8)
        out[:6] = value
        return out

    return coding


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (255, {}),
        (254, {"ignore_index": (254,)}),
        (255, {"ignore_index": (0,)}),
        (200, {"ignore_index": (200, 255)}),
        (254, {"class_map": ("0=0", "1=1", "2=2", "254=ignore")}),
        (254, {"mask_kind": "index", "classes": 3, "ignore_index": (254,)}),
    ],
)
def test_ignored_values(tmp_path, stored, options):
    coding, found = read(pairs(tmp_path / "set", 12, void(stored)), **options)
    assert coding.classes == 3
    for index, mask in enumerate(drawn()):
        wanted = void(255)(mask, index)
        if options.get("ignore_index") == (0,):
            wanted[wanted == 0] = 255
        np.testing.assert_array_equal(found[index], wanted)


def test_an_ignored_value_that_nobody_named_is_asked_for(tmp_path):
    root = pairs(tmp_path / "set", 12, void(254))
    with pytest.raises(UserError, match="--ignore-index 254"):
        read(root)
    with pytest.raises(UserError, match="the value 1, to which --class-map gives no class"):
        read(root, class_map=("0=0", "2=1", "254=ignore"))
    report = check(CheckConfig(data=str(root), progress=False, fix=tmp_path / "fixed"))
    assert {row["code"] for row in report["found"]} == {"MS005"}
    copy = cv2.imread(str(tmp_path / "fixed" / "masks" / "s00.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(copy)) == {0, 1, 254}  # nothing is repaired that nobody understands


def test_a_class_of_the_test_part_alone_is_a_class(tmp_path):
    def coding(last):
        return lambda mask, index: np.where(
            (mask > 0) & (index == last), 3, mask * (index % 2 + 1)
        ).astype(np.uint8)

    pairs(tmp_path / "train", 12, coding(-1))
    pairs(tmp_path / "validation", 4, coding(-1), start=100)
    pairs(tmp_path / "test", 4, coding(2), start=200)
    assert read(tmp_path)[0].classes == 4


def test_values_that_occur_nowhere_are_no_classes(tmp_path):
    def slip(mask, index):
        out = (mask * (index % 2 + 1)).astype(np.uint8)
        out[0, 0] = 37 if index == 3 else 0
        return out

    coding, _ = read(pairs(tmp_path / "slip", 12, slip))
    assert coding.classes == 3 and "the value 37 in 1 pixel of s03.png" in coding.text
    root = pairs(tmp_path / "gaps", 12, lambda mask, index: mask * np.uint8((1, 5)[index % 2]))
    with pytest.raises(UserError, match="two codings in one set"):  # or two classes?
        read(root)
    coding, found = read(root, mask_kind="index")
    assert coding.classes == 3 and "the values 0, 1, 5" in coding.text
    assert_same(found, [mask * (index % 2 + 1) for index, mask in enumerate(drawn())])
    assert read(root, classes=6)[0].classes == 6


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)])
def test_a_small_lesion_in_one_colour_is_not_lost(tmp_path, colour):
    wanted = []
    for index in range(3):
        mask = np.zeros((1080, 1920), np.uint8)
        mask[500 : 503 + 40 * index, 700 : 703 + 40 * index] = 1
        wanted.append(mask)
        write(tmp_path / "images" / f"s{index}.png", np.full((*mask.shape, 3), 90, np.uint8))
        write(tmp_path / "masks" / f"s{index}.png", mask[..., None] * np.array(colour, np.uint8))
    assert_same(read(tmp_path)[1], wanted)


def test_colours_of_classes_need_a_list(tmp_path):
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)
    masks = [mask * (index % 2 + 1) for index, mask in enumerate(drawn())]
    for index, mask in enumerate(masks):
        write(tmp_path / "images" / f"s{index:02d}.png", scene(index)[0])
        write(tmp_path / "masks" / f"s{index:02d}.png", colours[mask])
    with pytest.raises(UserError, match=r"--mask-colours 0,0,0 255,0,0 0,255,0"):
        read(tmp_path)
    assert_same(read(tmp_path, mask_colours=("0,0,0", "255,0,0", "#00ff00"))[1], masks)
    with pytest.raises(UserError, match=r"holds the colour 0, 255, 0, which is none of those"):
        read(tmp_path, mask_colours=("0,0,0", "255,0,0"))
    (tmp_path / "dataset.yaml").write_text(
        "classes: [rest, polyp, tool]\n"
        "colours: {rest: [0, 0, 0], tool: '#ff0000', polyp: [0, 255, 0]}\n"
    )
    coding, found = read(tmp_path)
    assert coding.names == ("rest", "polyp", "tool")
    assert_same(found, [np.array([0, 2, 1], np.uint8)[mask] for mask in masks])


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("shown", [False, True])
def test_white_is_zero(tmp_path, value, shown):
    """Class indices are as stored; of two extremes the border of the images is background."""
    (tmp_path / "masks").mkdir()
    for index, mask in enumerate(drawn()):
        write(tmp_path / "images" / f"s{index:02d}.png", scene(index)[0])
        stored = (1 - mask) * np.uint8(255) if shown and value == 255 else mask * np.uint8(value)
        tifffile.imwrite(tmp_path / "masks" / f"s{index:02d}.tif", stored, photometric="miniswhite")
    assert_same(read(tmp_path)[1], drawn())


def test_each_sequence_of_real_frames_alone_is_read_as_the_whole_set_is(real):
    dataset = open_dataset(real / "CVC-ClinicDB")
    items = {item.name: item for part in dataset.parts.values() for item in part}
    sequences = {}
    with open(real / "CVC-ClinicDB" / "sequences.csv") as rows:
        for frame, sequence in list(csv.reader(rows))[1:]:
            sequences.setdefault(sequence, []).append(items[frame])
    assert len(sequences) == 29
    for sequence, frames in sequences.items():
        assert survey(frames).kind == "binary-255", sequence


def test_a_description_counts_where_options_are_silent():
    description = Description(mask_kind="index", ignore=(9,), classes=("a", "b"))
    assert declared_by(Masks(), description).kind == "index"
    declared = declared_by(Masks(mask_kind="binary", ignore_index=(7,)), description)
    assert (declared.kind, declared.ignore) == ("binary", (7,))


def test_numbered_objects_are_not_taken_for_classes(tmp_path):
    def numbered(mask, index):
        out = np.zeros_like(mask)
        for number in range(1, index % 7 + 3):
            cv2.circle(out, (8 * number, 10 + 5 * (number % 3)), 3, number, -1)
        return out

    root = pairs(tmp_path / "set", 12, numbered)
    with pytest.raises(UserError, match="numbered objects or classes"):
        read(root)
    _, found = read(root, mask_kind="binary")
    assert_same(found, [(numbered(mask, i) > 0).astype(np.uint8) for i, mask in enumerate(drawn())])

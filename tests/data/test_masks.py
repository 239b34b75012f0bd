"""What the values mean, over the whole set."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from medseg.data.masks import Declared, decode_mask, read_classes, survey
from medseg.data.sample import Item
from medseg.data.sealed import sealed
from medseg.errors import UserError


@pytest.fixture
def items(tmp_path):
    """Write masks and return their items."""

    def make(*masks):
        found = []
        for i, mask in enumerate(masks):
            path = tmp_path / f"m{i}.png"
            cv2.imwrite(str(path), np.asarray(mask, np.uint8))
            found.append(Item(f"m{i}", path, (path,)))
        return found

    return make


def blob(value, size=40):
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, 10:30] = value
    return mask


def values_of(coding, mask):
    return set(np.unique(decode_mask(np.asarray(mask, np.uint8), coding, name="x")).tolist())


def read_alone(path):
    """The classes of a mask file that is a set by itself."""
    item = Item("a", path, (path,))
    return read_classes(item, survey([item]))


def test_a_shape_is_read_from_any_container(tmp_path):
    mask = blob(255)
    red = np.stack([mask // 255 * value for value in (200, 20, 10)], -1)
    pictures = {
        "grey.png": Image.fromarray(mask),
        "rgb.png": Image.fromarray(np.dstack([mask] * 3)),
        "rgba.png": Image.fromarray(np.dstack([mask] * 3 + [np.full_like(mask, 255)])),
        "red.png": Image.fromarray(red),
        "bit.png": Image.fromarray(mask > 0),
        "m.gif": Image.fromarray(mask),
        "sixteen.png": Image.fromarray(mask.astype(np.uint16) * 257),
        "small.png": Image.fromarray((mask // 255 * 3).astype(np.uint16)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    tifffile.imwrite(tmp_path / "bool.tif", mask > 0, photometric="minisblack")
    for path in tmp_path.iterdir():
        classes = read_alone(path)
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, mask > 0, err_msg=path.name)


def test_several_colours_are_refused_and_a_coloured_palette_gives_its_indices(tmp_path):
    index = blob(2)
    index[:5] = 1
    image = Image.fromarray(index, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 759)
    image.save(tmp_path / "voc.png")
    np.testing.assert_array_equal(read_alone(tmp_path / "voc.png"), index)
    image.convert("RGB").save(tmp_path / "two.png")
    with pytest.raises(UserError, match=r"two\.png.*colours.*--mask-colours"):
        read_alone(tmp_path / "two.png")


def test_binary_255(items):
    coding = survey(items(blob(255), blob(0)))
    assert (coding.kind, coding.classes) == (
        "binary-255",
        2,
    ) and coding.text.startswith("masks: 0/255 in 2 files")
    assert values_of(coding, blob(255)) == {0, 1}


def test_jpeg_noise_is_thresholded_at_127_and_said(items):
    noisy = blob(251)
    noisy[0, :9] = [1, 2, 3, 4, 5, 127, 128, 200, 254]
    coding = survey(items(noisy, blob(255)))
    assert (
        coding.kind == "binary-255"
        and "1 of them with values between, threshold 127" in coding.text
    )
    decoded = decode_mask(noisy, coding, name="x")
    assert decoded[0, :9].tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_zero_one_and_zero_one_with_ignore(items):
    assert survey(items(blob(1), blob(0))).kind == "binary-01"
    with_border = blob(1)
    with_border[0] = 255
    coding = survey(items(with_border))
    assert coding.kind == "binary-01" and "255 is ignored (1 files)" in coding.text
    assert values_of(coding, with_border) == {0, 1, 255}


def test_class_indices_with_ignore(items):
    mask = blob(2)
    mask[0], mask[1] = 255, 3
    coding = survey(items(mask, blob(1)))
    assert (coding.kind, coding.classes) == ("index", 4)
    assert values_of(coding, mask) == {0, 2, 3, 255}
    assert survey(items(mask), Declared(classes=6)).classes == 6


def test_five_unexpected_values_name_the_file(items):
    mask = np.repeat(np.array([0, 50, 100, 150, 200], np.uint8), 8)[None].repeat(40, 0)
    with pytest.raises(UserError, match=r"m1\.png: holds the values 0, 50, 100, 150, 200"):
        survey(items(blob(255), mask))


def test_all_empty_is_refused_some_empty_are_fine(items):
    with pytest.raises(UserError, match="no foreground in 2 masks"):
        survey(items(blob(0), blob(0)))
    assert survey(items(blob(0), blob(255))).classes == 2
    assert (
        survey(items(blob(0)), Declared(kind="binary-255")).classes == 2
    )  # a declared kind is taken at its word


def test_an_index_beyond_the_classes_names_file_and_value(items):
    with pytest.raises(UserError, match=r"m1\.png: holds the class index 7, expected 0 to 2"):
        survey(items(blob(2), blob(7)), Declared(classes=3))
    with pytest.raises(UserError, match="holds the value 9"):
        decode_mask(blob(9), survey(items(blob(2))), name="later.png")


def test_binary_masks_for_more_classes_are_refused(items):
    with pytest.raises(UserError, match="--classes 3: the masks hold 0, 255, which is 2 classes"):
        survey(items(blob(255)), Declared(classes=3))


def test_a_second_look_at_the_same_files_reads_none_of_them(tmp_path, monkeypatch):
    paths = [tmp_path / f"m{i}.bmp" for i in range(3)]
    for path in paths:
        cv2.imwrite(str(path), blob(255))
    three, size = [Item(path.stem, path, (path,)) for path in paths], paths[0].stat().st_size
    found = survey(three)
    with monkeypatch.context() as patch:
        patch.setattr("medseg.data.masks.surveying.look_at", None)
        assert survey(three[::-1]) is found
    with sealed(three), pytest.raises(UserError, match="is a test image"):
        survey(three)
    cv2.imwrite(str(paths[0]), blob(254))
    assert paths[0].stat().st_size == size  # only its time tells
    assert "1 of them with values between" in survey(three).text


def test_the_real_sets(real):
    from medseg.data.sources.pairing import find_pairs

    for name, kind, noisy in (
        ("Kvasir-SEG", "binary-255", True),
        ("CVC-ClinicDB", "binary-255", True),
        ("CVC-ColonDB", "binary-255", False),
        ("ISBI2012-EM", "binary-255", False),
    ):
        pairing = find_pairs(real / name)
        items, notes = pairing.items()[""], pairing.notes
        coding = survey(items[:: max(1, len(items) // 60)])
        assert (coding.kind, coding.classes) == (kind, 2)
        assert ("threshold" in coding.text) == noisy and not notes

"""Sets made to be misread: each is refused in one line, or read as it was drawn."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scenes import scene

from medseg.data.masks import Declared, read_classes, survey
from medseg.data.sample import Item
from medseg.errors import UserError

SHAPES = [scene(index)[1] for index in range(12)]


def read(tmp_path, stored, declared=Declared(), suffixes=(".png",)):  # noqa: B008
    """The class indices of masks stored as given; the suffixes take turns."""
    items = []
    for index, values in enumerate(stored):
        path = tmp_path / f"m{index:02d}{suffixes[index % len(suffixes)]}"
        colour = values[..., ::-1] if values.ndim == 3 else values
        cv2.imwrite(str(path), np.ascontiguousarray(colour))
        items.append(Item(path.stem, path, (path,)))
    coding = survey(items, declared)
    return [read_classes(item, coding) for item in items]


def framed(mask):
    out = mask.copy()
    out[:10] = out[-10:] = 255
    return out


def lines_in_view(index):
    """Vessels of one pixel in a round field of view; 255 outside."""
    out = np.full((72, 80), 255, np.uint8)
    cv2.circle(out, (40, 36), 30, 0, -1)
    for at in range(20, 60, 8):
        cv2.line(out, (at, 20 + index), (at + 5, 50), 1, 1)
    return out


def coloured(mask, colour):
    return mask[..., None] * np.array(colour, np.uint8)


def with_slip(value):
    out = [mask * np.uint8(38) for mask in SHAPES]
    out[3][0, 0] = value
    return out


REFUSED = {
    "an ignored frame in most files, a third without object": [
        framed(mask * (index > 3)) for index, mask in enumerate(SHAPES)
    ],
    "a class of its own in one file of 0/255": [
        np.maximum(mask * np.uint8(255), np.uint8(20) * np.roll(SHAPES[0], 20, 1) * (index == 0))
        for index, mask in enumerate(SHAPES)
    ],
    "lines of one pixel": [lines_in_view(index) for index in range(6)],
    "one file of 0/38 among 0/1": [
        mask * np.uint8(38 if index == 5 else 1) for index, mask in enumerate(SHAPES)
    ],
    "two reds": [
        coloured(mask, (255, 50, 0) if index % 2 else (255, 0, 0))
        for index, mask in enumerate(SHAPES)
    ],
    "0, 128 and 255": [mask * np.uint8(128 + 127 * (i % 2)) for i, mask in enumerate(SHAPES)],
}


@pytest.mark.parametrize("name", REFUSED)
def test_sets_that_have_two_meanings_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"m\d\d\.png") as caught:
        read(tmp_path, REFUSED[name])
    assert "\n" not in str(caught.value) and "--" in str(caught.value)


@pytest.mark.parametrize("value", [1, 7, 39])
def test_one_wrong_pixel_makes_no_class(tmp_path, value):
    for mask, found in zip(SHAPES, read(tmp_path, with_slip(value)), strict=True):
        np.testing.assert_array_equal(found[1:], mask[1:])


def test_one_lossy_file_among_class_indices_is_named(tmp_path):
    stored = [mask * np.uint8(index % 3 + 1) for index, mask in enumerate(SHAPES)]
    for mask in stored:
        mask[:8] = 255
    with pytest.raises(UserError, match=r"m03\.jpg: .*lossy format"):
        read(tmp_path, stored, suffixes=(".png", ".png", ".png", ".jpg"))
    with pytest.raises(UserError, match="lossy format"):
        read(tmp_path, SHAPES, suffixes=(".jpg",))


@pytest.mark.parametrize(
    "declared",
    [
        Declared(kind="index"),
        Declared(kind="binary-01"),
        Declared(class_map=((0, 0), (255, 0))),
        Declared(class_map=((0, 0), (255, 1)), ignore=(255,)),
    ],
)
def test_a_word_under_which_nothing_is_left_is_refused(tmp_path, declared):
    with pytest.raises(UserError, match="ignore"):
        read(tmp_path, [mask * np.uint8(255) for mask in SHAPES], declared)


def test_colours_can_be_merged_by_their_place_in_the_list(tmp_path):
    colours = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    stored = [coloured(mask, colours[1 + index % 2]) for index, mask in enumerate(SHAPES)]
    told = Declared(colours=colours, class_map=((0, 0), (1, 1), (2, 1)))
    for mask, found in zip(SHAPES, read(tmp_path, stored, told), strict=True):
        np.testing.assert_array_equal(found, mask)
    with pytest.raises(UserError, match="gives no class to colour 2"):
        read(tmp_path, stored, Declared(colours=colours, class_map=((0, 0), (1, 1))))


def test_a_palette_with_one_colour_twice_is_refused(tmp_path):
    items = []
    for index, mask in enumerate(SHAPES):
        picture = Image.fromarray(np.where(mask * (np.arange(80) > 40), 2, mask).astype(np.uint8))
        picture = picture.convert("P") if picture.mode != "P" else picture
        picture.putpalette([0, 0, 0, 255, 255, 255, 255, 255, 255] + [0] * 759)
        picture.save(path := tmp_path / f"m{index:02d}.png")
        items.append(Item(path.stem, path, (path,)))
    with pytest.raises(UserError, match="two indices of its palette have one colour"):
        survey(items)


def test_a_pixel_of_two_classes_is_refused(tmp_path):
    items = []
    for index, mask in enumerate(SHAPES):
        paths = tmp_path / f"m{index:02d}.png", tmp_path / f"m{index:02d}_mask_1.png"
        cv2.imwrite(str(paths[0]), mask)
        cv2.imwrite(str(paths[1]), np.roll(mask, 4 * (index == 3) + 40 * (index != 3), 1) * 2)
        items.append(Item(f"m{index:02d}", paths[0], paths))
    coding = survey(items)
    with pytest.raises(UserError, match=r"m03_mask_1\.png: \d+ pixels are of class 2 here"):
        read_classes(items[3], coding)

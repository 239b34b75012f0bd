"""Masks at the limits of what their values tell: read as drawn, or refused with what to do."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scenes import scene

from medseg.data.masks import Declared, read_classes, survey
from medseg.data.sample import Item
from medseg.errors import UserError

SHAPES = [scene(index)[1] for index in range(8)]
INSETS = [cv2.erode(mask, np.ones((9, 9), np.uint8)) for mask in SHAPES]


def read(tmp_path, stored, declared=Declared(), suffix=".png", **save):  # noqa: B008
    """The coding and the class indices of masks stored as given."""
    items = []
    for index, values in enumerate(stored):
        path = tmp_path / f"m{index:02d}{suffix}"
        picture = values if isinstance(values, Image.Image) else Image.fromarray(values)
        picture.save(path, **save)
        items.append(Item(path.stem, path, (path,)))
    coding = survey(items, declared)
    return coding, [read_classes(item, coding) for item in items]


def assert_read(tmp_path, stored, wanted, *given, **save):
    coding, found = read(tmp_path, stored, *given, **save)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    return coding


def refused(tmp_path, stored, match, *given, **save):
    with pytest.raises(UserError, match=match) as caught:
        read(tmp_path, stored, *given, **save)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def soft(mask, value, step):
    """The shape at 1 / step of its size, or `step` times as large, with the soft edges of that."""
    size = [round(side * step) for side in mask.shape[::-1]]
    way = cv2.INTER_AREA if step < 1 else cv2.INTER_LINEAR
    return np.rint(cv2.resize(mask * np.float32(value), size, interpolation=way)).astype(np.uint8)


@pytest.mark.parametrize(("value", "step"), [(2, 0.5), (3, 0.5), (2, 3), (2, 4), (3, 3), (90, 0.5)])
def test_a_soft_edge_is_no_class(tmp_path, value, step):
    stored = [soft(mask, value, step) for mask in SHAPES]
    refused(tmp_path, stored, r"as a thin line|is 255 foreground|expected 0 and 255")
    if value == 2:
        refused(tmp_path, stored, r"--class-map 0=0 1=0 2=1 .*--mask-kind index")
        told = Declared(class_map=((0, 0), (1, 0), (2, 1)))
        assert_read(tmp_path, stored, [values // 2 for values in stored], told)
        assert_read(tmp_path, stored, stored, Declared(kind="index"))


def test_soft_edges_beside_a_class_of_the_same_value(tmp_path):
    stored = [soft(np.roll(mask, 20, 1) * (mask == 0), 3, 0.5) for mask in SHAPES]
    for at, mask in enumerate(SHAPES):
        stored[at] = np.maximum(stored[at], cv2.erode(soft(mask, 1, 0.5), np.ones((9, 9))))
    refused(tmp_path, stored, "the soft edge of a shape")


@pytest.mark.parametrize("apart", [True, False])
def test_classes_within_or_beside_another_are_classes(tmp_path, apart):
    inner = [np.roll(mask, 30, 1) & ~mask & 1 if apart else inset
             for mask, inset in zip(SHAPES, INSETS, strict=True)]  # fmt: skip
    stored = [np.where(inset, 2, mask) for mask, inset in zip(SHAPES, inner, strict=True)]
    assert assert_read(tmp_path, stored, stored).classes == 3


def palette(mask, colours):
    picture = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    picture.putpalette([channel for colour in colours for channel in colour])
    return picture


BLACK, WHITE, RED, BLUE, YELLOW = (
    (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255), (255, 255, 0),
)  # fmt: skip


@pytest.mark.parametrize("dark", [BLACK, (40, 40, 40), BLUE])
@pytest.mark.parametrize("light", [WHITE, YELLOW])
def test_two_colours_of_which_all_says_the_darker_is_background(tmp_path, dark, light):
    assert_read(tmp_path, [palette(mask, (dark, light)) for mask in SHAPES], SHAPES)


@pytest.mark.parametrize("light", [WHITE, RED])
def test_black_with_the_second_index_is_background_if_it_is_outside(tmp_path, light):
    assert_read(tmp_path, [palette(1 - mask, (light, BLACK)) for mask in SHAPES], SHAPES)


@pytest.mark.parametrize(
    "colours", [(WHITE, BLACK), (RED, BLACK), (WHITE, RED), (YELLOW, BLUE), ((90, 90, 90), BLACK)]
)
def test_two_colours_that_may_be_inverted_are_asked_about(tmp_path, colours):
    stored = [palette(mask, colours) for mask in SHAPES]
    refused(tmp_path, stored, r"with index 0 and .* with 1; .*--mask-colours")
    assert_read(tmp_path, stored, SHAPES, Declared(colours=colours))


def layer(colour, alpha):
    flat = np.broadcast_to(np.array(colour, np.uint8), (*alpha.shape, 3))
    return Image.fromarray(np.dstack([flat, alpha.astype(np.uint8)]), "RGBA")


def test_a_hole_in_an_opaque_layer_is_not_inverted(tmp_path):
    for colour in (BLACK, WHITE):
        refused(tmp_path, [layer(colour, 255 - mask * 255) for mask in SHAPES], "is opaque along")
        assert_read(tmp_path, [layer(colour, mask * 255) for mask in SHAPES], SHAPES)
    refused(tmp_path, [layer(RED, 255 - mask * 155) for mask in SHAPES], "is opaque along")


def test_a_shape_that_is_nearly_transparent_is_not_lost(tmp_path):
    colours = np.array([BLACK, RED, BLUE], np.uint8)
    alphas = np.array([255, 100, 255], np.uint8)
    classes = [np.where(inset, 2, mask) for mask, inset in zip(SHAPES, INSETS, strict=True)]
    stored = [Image.fromarray(np.dstack([colours[each], alphas[each]]), "RGBA") for each in classes]
    refused(tmp_path, stored, "areas of alpha 100")
    refused(tmp_path, stored, "areas of alpha 100", Declared(colours=(BLACK, RED, BLUE)))


@pytest.mark.parametrize(
    "pair", [(WHITE, (255, 255, 210)), ((240, 240, 210), WHITE), ((2, 0, 0), WHITE)]
)
def test_two_colours_that_are_nearly_one_are_two(tmp_path, pair):
    colours = np.array([BLACK, *pair], np.uint8)
    classes = [np.where(inset, 2, mask) for mask, inset in zip(SHAPES, INSETS, strict=True)]
    stored = [colours[each] for each in classes]
    refused(tmp_path, stored, "several colours")
    assert_read(tmp_path, stored, classes, Declared(colours=(BLACK, *pair)))


def near(found, wanted):
    """Whether two masks differ along the edges of the shapes only."""
    edge = cv2.dilate(wanted, np.ones((5, 5))) != cv2.erode(wanted, np.ones((5, 5)))
    return not ((found != wanted) & ~edge).any()


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("colour", [WHITE, RED, (0, 255, 0), BLUE, YELLOW])
def test_jpeg_in_one_colour(tmp_path, colour, quality):
    stored = [mask[..., None] * np.array(colour, np.uint8) for mask in SHAPES]
    small = SHAPES[0] * 0
    small[30:37, 40:47] = 1  # has no inside that chroma keeps
    shapes = [*SHAPES, small]
    stored.append(small[..., None] * np.array(colour, np.uint8))
    for declared in (Declared(), Declared(colours=(BLACK, colour))):
        _, found = read(tmp_path, stored, declared, suffix=".jpg", quality=quality)
        assert all(near(one, other) for one, other in zip(found, shapes, strict=True))


def test_the_noise_of_a_codec_on_the_background_is_no_class(tmp_path):
    for colour in (WHITE, (0, 255, 128)):
        stored = [mask[..., None] * np.array(colour, np.uint8) for mask in SHAPES]
        _, found = read(tmp_path, stored, suffix=".webp", quality=60)
        assert all(near(one, other) for one, other in zip(found, SHAPES, strict=True))


def test_jpeg_in_several_colours(tmp_path):
    """At an edge between black and red no dark red of another class appears."""
    listed = (BLACK, RED, (128, 0, 0), (0, 255, 0))
    classes = [mask * np.uint8(1 + 2 * (at % 2)) for at, mask in enumerate(SHAPES)]
    stored = [np.array(listed, np.uint8)[each] for each in classes]
    refused(tmp_path, stored, "several colours", suffix=".jpg")
    _, found = read(tmp_path, stored, Declared(colours=listed), suffix=".jpg", quality=90)
    assert all(near(one, other) for one, other in zip(found, classes, strict=True))
    assert not any((each == 2).any() for each in found)
    few = Declared(colours=(BLACK, RED))
    refused(tmp_path, stored, "none of those given .*save the masks as PNG", few, suffix=".jpg")


def objects(count, order):
    """`count` discs, each with a number of its own, in rows or not."""
    out = np.zeros((72, 80), np.uint8)
    numbers = range(1, count + 1) if order else range(count, 0, -1)
    for at, number in enumerate(numbers):
        cv2.circle(out, (12 + 18 * (at % 4), 15 + 30 * (at // 4)), 6, number, -1)
    return out


def test_numbered_objects_are_refused_or_asked_about(tmp_path):
    refused(tmp_path, [objects(1 + at % 4, True) for at in range(8)], "numbered objects or classes")
    stored = [objects(1 + at % 4, False) for at in range(8)]
    coding = assert_read(tmp_path, stored, stored)
    assert "if these are numbered objects, give --mask-kind binary" in coding.text
    same = [np.where(inset, 2, mask) for mask, inset in zip(SHAPES, INSETS, strict=True)]
    assert "numbered" not in assert_read(tmp_path, same, same).text


def test_a_background_that_does_not_count(tmp_path):
    told, stored = Declared(ignore=(0,)), [mask * np.uint8(255) for mask in SHAPES]
    coding = assert_read(tmp_path, stored, [np.where(mask, 1, 255) for mask in SHAPES], told)
    assert coding.classes == 2 and "0 is ignored" in coding.text


@pytest.mark.parametrize("kind", ["auto", "binary-255"])
def test_values_beyond_8_bits_are_not_cut_at_127(tmp_path, kind):
    stored = [
        np.where(inset, 771, mask * np.uint16(257)).astype(np.uint16)
        for mask, inset in zip(SHAPES, INSETS, strict=True)
    ]
    refused(tmp_path, stored, "holds the values 0, 257, 771", Declared(kind=kind))


def contoured(index):
    """Lines of one pixel, class 2 or 3, within a contour of 255."""
    out = np.zeros((72, 80), np.uint8)
    cv2.line(out, (10, 10 + 4 * index), (60, 14 + 4 * index), 2 + index % 2, 1)
    around = cv2.dilate((out > 0).astype(np.uint8), np.ones((3, 3)))
    return np.where(around > out, np.uint8(255) * (around > 0) * (out == 0) + out, out)


def test_lines_within_contours_of_255_are_no_noise(tmp_path):
    stored = [contoured(at) for at in range(6)]
    refused(tmp_path, stored, "is 255 foreground and the rest noise")
    told = Declared(kind="index")
    table = np.array([0, 9, 1, 2] + [255] * 252, np.uint8)
    assert_read(tmp_path, stored, [table[each] for each in stored], told)


def test_lines_of_their_own_beside_255_are_no_soft_edge(tmp_path):
    stored = [mask * np.uint8(255) for mask in SHAPES]
    for each in stored:
        cv2.line(each, (2, 2), (70, 2), 85, 1)
    refused(tmp_path, stored, "holds the values 0, 85, 255")


def test_class_indices_in_contours_of_255_in_a_jpeg_are_no_noise(tmp_path):
    stored = [
        np.where(mask, np.uint8(3), cv2.dilate(mask, np.ones((3, 3))) * np.uint8(255))
        for mask in SHAPES
    ]
    refused(tmp_path, stored, "holds the values 0, .*--mask-kind index", suffix=".jpg")


@pytest.mark.parametrize("as_palette", [False, True])
def test_a_rare_value_is_a_slip_only_beside_large_areas(tmp_path, as_palette):
    stored = [mask * np.uint8(3 * (at < 2)) for at, mask in enumerate(SHAPES)]
    stored[0][0, :6] = 7
    if as_palette:  # whoever wrote indices meant them
        table = [BLACK, WHITE, RED, BLUE, YELLOW, (9, 9, 9), (0, 9, 0), (9, 0, 9)]
        wanted = [np.select([each == 3, each == 7], [1, 2], 0) for each in stored]
        assert_read(tmp_path, [palette(each, table) for each in stored], wanted)
        return
    coding, _ = read(tmp_path, stored)
    assert "the value 7 in 6 pixels of m00.png is taken for a slip and ignored" in coding.text
    small = [each[24:48, 24:56] * (each[24:48, 24:56] != 7) for each in stored]
    small[0][:] = 0
    small[0][4:8, 4:12], small[0][15, :6] = 3, 7
    refused(tmp_path, small[:1], "holds the value 7 in 6 pixels: a slip, or a class")


def test_black_of_a_later_index_among_several_colours(tmp_path):
    classes = [np.where(inset, 2, mask) for mask, inset in zip(SHAPES, INSETS, strict=True)]
    classes = [np.where(each == 2, 2, 0) for each in classes]
    classes[0][30, 30:33] = 1
    stored = [palette(each.astype(np.uint8), [WHITE, RED, BLACK]) for each in classes]
    refused(tmp_path, stored, "black has the index 2, behind")


def test_empty_masks_among_shapes_in_alpha(tmp_path):
    shapes = [mask * (at > 2) for at, mask in enumerate(SHAPES)]
    assert_read(tmp_path, [layer((90, 20, 20), mask * 255) for mask in shapes], shapes)


def test_two_thin_colours_in_jpeg_are_two(tmp_path):
    def line(at, colour):
        return cv2.line(np.zeros((72, 80, 3), np.uint8), (10, 8 + at * 7), (60, 20), colour, 2)

    colours = ((255, 192, 128), (128, 64, 0))
    stored = [line(at, colours[at % 2]) for at in range(6)]
    refused(tmp_path, stored, "several colours", suffix=".jpg", quality=85)

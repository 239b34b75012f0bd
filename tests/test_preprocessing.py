"""What goes into the network comes back to the same pixels."""

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.preprocessing import Preprocessing, _neighbours


@pytest.mark.parametrize("native", [(100, 80), (37, 211), (64, 64), (1, 5), (500, 500)])
@pytest.mark.parametrize("resize", ["square", "letterbox"])
def test_image_and_mask_take_the_size_asked_for(native, resize):
    image = np.full((*native, 3), 7, np.uint8)
    mask = np.ones(native, np.uint8)
    preprocessing = Preprocessing((64, 96), resize)
    assert preprocessing.fit(image).shape == (64, 96, 3)
    assert preprocessing.fit_mask(mask).shape == (64, 96)
    assert preprocessing.restore(torch.zeros(1, 2, 64, 96), native).shape == (1, 2, *native)


def test_letterbox_keeps_the_aspect_ratio_and_ignores_the_rest():
    letterbox = Preprocessing((64, 64), "letterbox")
    top, left, height, width = letterbox.box((100, 50))
    assert (top, left, height, width) == (0, 16, 64, 32)
    mask = letterbox.fit_mask(np.ones((100, 50), np.uint8))
    assert (mask[:, 16:48] == 1).all()
    assert (mask[:, :16] == 255).all() and (mask[:, 48:] == 255).all()
    image = letterbox.fit(np.full((100, 50, 3), 9, np.uint8))
    assert (image[:, 16:48] == 9).all() and not image[:, :16].any()


@pytest.mark.parametrize("resize", ["square", "letterbox", "native-crop"])
def test_a_disc_survives_the_way_there_and_back(resize):
    y, x = np.mgrid[:200, :300]
    mask = ((y - 90) ** 2 + (x - 160) ** 2 < 50**2).astype(np.uint8)
    preprocessing = Preprocessing((128, 128), resize)
    small = preprocessing.fit_mask(mask)
    logits = torch.from_numpy(np.where(small == 1, 5.0, -5.0)).float()[None, None]
    back = (preprocessing.restore(logits, (200, 300))[0, 0] > 0).numpy()
    overlap = 2 * (back & (mask == 1)).sum() / (back.sum() + mask.sum())
    assert overlap > 0.985


def test_native_crop_leaves_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (31, 45, 3), dtype=np.uint8)
    assert np.array_equal(Preprocessing((64, 64), "native-crop").fit(image), image)


def test_class_indices_are_never_mixed():
    mask = np.random.default_rng(0).choice(np.array([0, 2, 5, 255], np.uint8), (90, 70))
    assert set(np.unique(Preprocessing((31, 47)).fit_mask(mask))) <= {0, 2, 5, 255}


def test_a_thin_structure_is_not_dropped_by_shrinking_a_binary_mask():
    mask = np.zeros((200, 200), np.uint8)
    mask[:, 100:103] = 1  # 3 pixels wide: more than half of a pixel at half the size
    assert Preprocessing((100, 100)).fit_mask(mask).any(1).all()


SIDES = st.integers(33, 900)


@settings(max_examples=60, deadline=None)
@given(have=SIDES, want=SIDES)
def test_every_new_pixel_is_taken_from_its_own_place(have, want):
    """The two neighbours of a new pixel, by their weights, lie around its centre."""
    first, second, weight = _neighbours(have, want)
    taken = first + (second - first) * weight / 256
    centres = (np.arange(want) + 0.5) * have / want - 0.5
    assert np.abs(taken - np.clip(centres, 0, have - 1)).max() <= 0.5 / 256 + 1e-9


@pytest.mark.parametrize("native", [(300, 1300), (1300, 300), (33, 900), (351, 1300)])
def test_a_shape_comes_back_where_one_side_grew_and_the_other_shrank(native):
    height, width = native
    y, x = np.mgrid[:height, :width]
    mask = ((y / height - 0.45) / 0.3) ** 2 + ((x / width - 0.55) / 0.25) ** 2 < 1
    preprocessing = Preprocessing((352, 352))
    image = preprocessing.fit(np.repeat(255 * mask[..., None], 3, axis=2).astype(np.uint8))
    small = preprocessing.fit_mask(mask.astype(np.uint8))
    assert (small != (image[..., 0] > 127)).mean() < 1e-4
    logits = torch.from_numpy(image[..., 0].astype(np.float32) - 127.5)[None, None]
    back = (preprocessing.restore(logits, native)[0, 0] > 0).numpy()
    for axis in (0, 1):
        places = [np.nonzero(each)[axis].mean() for each in (back, mask)]
        shift = (places[0] - places[1]) * min(1, 352 / native[axis])
        assert abs(shift) < 0.05  # pixels of the smaller grid


@settings(max_examples=60, deadline=None)
@given(native=st.tuples(SIDES, SIDES), size=st.tuples(SIDES, SIDES), seed=st.integers(0, 99))
def test_images_are_resized_as_opencv_does_but_for_the_last_bit(native, size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*native, 3), dtype=np.uint8)
    smaller = min(size[0], native[0]), min(size[1], native[1])
    expected = image
    if smaller != native:
        expected = cv2.resize(expected, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != size:
        expected = cv2.resize(expected, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
    difference = Preprocessing(size).fit(image).astype(int) - expected
    assert np.abs(difference).max(initial=0) <= 1


def test_halves_are_rounded_up_whatever_the_last_bit_says():
    """A third of the pixels of a checkerboard at 11 / 12 of its size are nearly halves."""
    board = np.indices((24, 24)).sum(0) % 2
    image = np.repeat((100 + board).astype(np.uint8)[..., None], 3, axis=2)
    assert (Preprocessing((12, 12)).fit(image) == 101).all()
    ramp = np.repeat(np.arange(24, dtype=np.uint8)[None, :, None], 24, axis=0)
    halves = Preprocessing((24, 12), channels=1).fit(ramp)
    assert (halves[0, :, 0] == np.arange(1, 24, 2)).all()


@pytest.mark.parametrize("native", [(3, 7), (7, 3), (199, 1001), (641, 361), (360, 640)])
def test_the_box_of_a_letterbox_is_rounded_in_integers(native):
    box = Preprocessing((352, 352), "letterbox").box(native)
    scale = min(Fraction(352, native[0]), Fraction(352, native[1]))
    exact = [max(1, math.floor(side * scale + Fraction(1, 2))) for side in native]
    assert list(box[2:]) == exact
    assert box[:2] == ((352 - exact[0]) // 2, (352 - exact[1]) // 2)

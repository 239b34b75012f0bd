"""What goes into the network comes back to the same pixels."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.preprocessing import Preprocessing, _resize


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
@given(native=st.tuples(SIDES, SIDES), size=st.tuples(SIDES, SIDES), axis=st.sampled_from([0, 1]))
def test_every_new_pixel_is_taken_from_its_own_place(native, size, axis):
    """A ramp stays a ramp, and its values say where they come from: the centre of each new pixel.

    In a fifth of the examples, and in 300x1300 at 352x352, one side grows and the other shrinks.
    """
    have, want = native[axis], size[axis]
    places = np.arange(have, dtype=np.float32)  # floats, so that nothing is rounded
    ramp = np.repeat(np.expand_dims(places, 1 - axis), native[1 - axis], axis=1 - axis)
    taken = _resize(ramp, *size).mean(axis=1 - axis)
    centres = (np.arange(want) + 0.5) * have / want - 0.5
    inner = slice(want // 8, want - want // 8)
    shift = (taken - centres)[inner].mean() * min(1, want / have)
    assert abs(shift) < 0.02  # pixels of the smaller grid


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


def test_images_whose_sides_both_grow_or_both_shrink_are_as_they_were():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for size, kind in (((30, 90), cv2.INTER_AREA), ((31, 47), cv2.INTER_AREA)):
        expected = cv2.resize(image, size[::-1], interpolation=kind)
        assert np.array_equal(Preprocessing(size).fit(image), expected)
    for size in ((60, 120), (77, 91)):
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(Preprocessing(size).fit(image), expected)

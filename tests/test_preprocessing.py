"""What goes into the network comes back to the same pixels."""

import numpy as np
import pytest
import torch

from medseg.preprocessing import Preprocessing


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

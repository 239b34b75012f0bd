"""Laws of the augmentation: zero strength is the identity, image and mask move together, and
nothing but (seed, epoch, name) decides.
"""

import dataclasses

import numpy as np
import pytest
import torch

from medseg.augment.batch import augment, blur, neutral, sample, warp, warp_matrices
from medseg.config import Augment
from medseg.data.randomness import name_keys, order, uniforms
from medseg.preprocessing import Preprocessing

OFF = Augment(
    scale=(1.0, 1.0),
    translate=0,
    rotate=0,
    hflip=0,
    vflip=0,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur=0,
)
MEAN, STD = torch.zeros(3), torch.ones(3)
NAMES = [f"image {i}" for i in range(6)]


def pictures(size=48, count=6, seed=0):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8))
    mask = torch.from_numpy(rng.integers(0, 2, (count, size, size), dtype=np.uint8))
    return image, mask


def run(strength, image, mask, *, epoch=0, seed=0, names=NAMES, size=None):
    p = sample(strength, seed, epoch, name_keys(names))
    return augment(image, mask, p, strength, at(size or tuple(image.shape[1:3])))


def at(size):
    """What the network takes in these tests: this size, and their normalisation."""
    return Preprocessing(size, mean=tuple(MEAN.tolist()), std=tuple(STD.tolist()))


def test_zero_strength_is_the_identity():
    image, mask = pictures()
    out, moved = run(OFF, image, mask)
    torch.testing.assert_close(out, image.permute(0, 3, 1, 2) / 255, atol=2e-5, rtol=0)
    assert torch.equal(moved, mask)


def test_neutral_parameters_are_the_identity_under_any_strength():
    image, mask = pictures()
    out, moved = augment(image, mask, neutral(6), Augment(), at((48, 48)))
    torch.testing.assert_close(
        out,
        at((48, 48)).normalise(image),
        atol=2e-5,
        rtol=0,
    )
    assert torch.equal(moved, mask)


@pytest.mark.parametrize("change", [{"hflip": 1.0}, {"vflip": 1.0}])
def test_a_certain_flip_is_an_exact_flip(change):
    image, mask = pictures()
    out, moved = run(dataclasses.replace(OFF, **change), image, mask)
    axis = 2 if "hflip" in change else 1
    assert torch.equal(moved, mask.flip(axis))
    torch.testing.assert_close(
        out, (image.permute(0, 3, 1, 2) / 255).flip(axis + 1), atol=2e-5, rtol=0
    )


def test_image_and_mask_move_together():
    """An image that is its own mask is still its own mask after any warp, up to interpolation at
    the edges.
    """
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    disc = (((x - 40) ** 2 + (y - 55) ** 2) < 22**2).to(torch.uint8)
    mask = disc.expand(40, 96, 96).contiguous()
    image = (255 * mask)[..., None].expand(40, 96, 96, 3).contiguous()
    geometric = dataclasses.replace(
        OFF, scale=(0.5, 2.0), translate=0.3, rotate=180, hflip=0.5, vflip=0.5
    )
    out, moved = run(geometric, image, mask, names=[f"n{i}" for i in range(40)], size=(80, 72))
    disagreement = ((out[:, 0] > 0.5) != (moved > 0)).float().mean((1, 2))
    assert disagreement.max() < 0.01
    assert moved.float().mean() > 0.02
    assert len({int(m.sum()) for m in moved}) > 20  # and they did move


def test_a_pure_rotation_keeps_the_area_of_a_centred_disc():
    y, x = torch.meshgrid(torch.arange(97), torch.arange(97), indexing="ij")
    disc = (((x - 48) ** 2 + (y - 48) ** 2) < 20**2).to(torch.uint8)[None]
    image = torch.zeros(1, 97, 97, 3, dtype=torch.uint8)
    _, moved = run(dataclasses.replace(OFF, rotate=180), image, disc, names=["a"])
    assert abs(int(moved.sum()) - int(disc.sum())) <= 12


def test_zoom_scales_the_area():
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    disc = (((x - 47.5) ** 2 + (y - 47.5) ** 2) < 10**2).to(torch.uint8)[None]
    p = dataclasses.replace(neutral(1), scale=np.full(1, 2.0, np.float32))
    matrix = torch.from_numpy(warp_matrices(p, (96, 96), (96, 96), 0.0))
    _, moved = warp(torch.zeros(1, 3, 96, 96), disc, matrix, (96, 96))
    assert int(moved.sum()) / int(disc.sum()) == pytest.approx(4.0, rel=0.05)


def test_ignored_pixels_stay_ignored_and_no_label_is_invented():
    image, mask = pictures()
    mask[:, :10] = 255
    _, moved = run(Augment(), image, mask)
    assert set(moved.unique().tolist()) <= {0, 1, 255}
    assert (moved == 255).any()


def test_parameters_depend_on_seed_epoch_and_name_alone():
    everything, keys = Augment(blur=2), name_keys(NAMES)
    a = sample(everything, 3, 7, keys)
    b = sample(everything, 3, 7, keys[::-1])  # another order, another batch
    single = sample(everything, 3, 7, keys[2:3])
    for field in dataclasses.fields(a):
        row = getattr(a, field.name)
        assert np.array_equal(row, getattr(b, field.name)[::-1])
        assert row[2] == getattr(single, field.name)[0]
    assert not np.array_equal(a.scale, sample(everything, 3, 8, keys).scale)
    assert not np.array_equal(a.scale, sample(everything, 4, 7, keys).scale)


def test_parameters_stay_within_their_strength():
    strength = Augment(scale=(0.5, 2.0), rotate=20, brightness=0.3, hue=0.1, blur=1.5)
    p = sample(strength, 0, 0, name_keys([str(i) for i in range(4000)]))
    assert 0.5 <= p.scale.min() < 0.51 and 1.98 < p.scale.max() <= 2.0
    assert abs(np.median(p.scale) - 1) < 0.05  # as much zooming in as out
    assert np.abs(p.angle).max() <= np.deg2rad(20)
    assert p.brightness.min() >= 0.7 and p.brightness.max() <= 1.3
    assert p.sigma.min() >= 0 and p.sigma.max() <= 1.5 and 0.45 < (p.sigma == 0).mean() < 0.55


def test_grey_stays_grey_under_hue_and_saturation():
    image, mask = pictures()
    image[:] = image[..., :1]
    out, _ = run(dataclasses.replace(OFF, hue=0.5, saturation=1.0), image, mask)
    torch.testing.assert_close(out[:, 0], out[:, 1], atol=2e-3, rtol=0)
    torch.testing.assert_close(out[:, 0], out[:, 2], atol=2e-3, rtol=0)


def test_brightness_is_a_factor_and_contrast_keeps_the_mean():
    image, mask = pictures()
    keys = name_keys(NAMES)
    bright = dataclasses.replace(OFF, brightness=0.5)
    out, _ = run(bright, image, mask)
    factor = torch.from_numpy(sample(bright, 0, 0, keys).brightness)[:, None, None, None]
    torch.testing.assert_close(
        out, image.permute(0, 3, 1, 2) / 255 * factor.float(), atol=1e-4, rtol=0
    )
    flat = torch.full_like(image, 130)
    out, _ = run(dataclasses.replace(OFF, contrast=0.9), flat, mask)
    torch.testing.assert_close(out, torch.full_like(out, 130 / 255), atol=1e-4, rtol=0)


def test_blur_keeps_the_mean_and_zero_sigma_changes_nothing():
    image = torch.rand(3, 3, 40, 40)
    out = blur(image, torch.tensor([0.0, 1.0, 3.0]), 3.0)
    torch.testing.assert_close(out[0], image[0])
    assert out[1].std() > out[2].std()
    assert abs(float(out[2, :, 10:-10, 10:-10].mean() - image[2, :, 10:-10, 10:-10].mean())) < 0.03


def test_normalisation_follows_the_colour_change():
    image, mask = pictures()
    preprocessing = Preprocessing((48, 48), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    mean, std = preprocessing.constants("cpu")
    out, _ = augment(image, mask, neutral(6), OFF, preprocessing)
    torch.testing.assert_close(
        out,
        (image.permute(0, 3, 1, 2) / 255 - mean[:, None, None]) / std[:, None, None],
        atol=1e-4,
        rtol=0,
    )


def test_one_channel_images_work():
    image, mask = pictures()
    out, _ = augment(
        image[..., :1],
        mask,
        sample(Augment(blur=1), 0, 0, name_keys(NAMES)),
        Augment(blur=1),
        Preprocessing((32, 40), channels=1),
    )
    assert out.shape == (6, 1, 32, 40)


def test_uniforms_are_uniform_and_the_order_is_a_permutation():
    u = uniforms(0, 0, name_keys([str(i) for i in range(20000)]), 2)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(u[:, 0], u[:, 1])[0, 1]) < 0.03
    keys = name_keys([str(i) for i in range(50)])
    assert sorted(order(0, 0, keys)) == list(range(50))
    assert not np.array_equal(order(0, 0, keys), order(0, 1, keys))

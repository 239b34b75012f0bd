"""The numbers behind the faults, each against a slow and obvious computation of it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from plants import check_set, clean, empty, image_of, mask_of

from medseg.data.decode import read_image, read_stored_mask
from medseg.doctor.collect import Pair
from medseg.doctor.inspection import inspect_pair
from medseg.doctor.mask_stats import SPECK_PIXELS, count_specks, isolated_pixels, small_components

MASKS = st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95)
).map(lambda v: (np.random.default_rng(v[2]).random(v[:2]) < v[3]).astype(np.uint8))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_isolated_pixels_differ_from_every_neighbour(mask):
    slow = np.zeros(mask.shape, bool)
    for y, x in np.ndindex(mask.shape):
        around = [
            mask[v, u]
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]
        ]
        slow[y, x] = bool(around) and all(other != mask[y, x] for other in around)
    np.testing.assert_array_equal(isolated_pixels(mask), slow)


def flood(mask, start, steps):
    """The pixels that can be reached from `start` over equal ones."""
    seen, todo = {start}, [start]
    while todo:
        y, x = todo.pop()
        for v, u in steps:
            at = (y + v, x + u)
            if (
                at not in seen
                and 0 <= at[0] < mask.shape[0]
                and 0 <= at[1] < mask.shape[1]
                and mask[at] == mask[start]
            ):
                seen.add(at)
                todo.append(at)
    return seen


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_small_components_are_those_a_flood_fill_ends_in(mask):
    four = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    for side, connectivity, steps in (
        (mask, 8, [*four, (1, 1), (1, -1), (-1, 1), (-1, -1)]),
        (1 - mask, 4, four),
    ):
        slow = np.zeros(mask.shape, bool)
        for start in np.argwhere(side):
            slow[tuple(start)] = len(flood(side, tuple(start), steps)) < SPECK_PIXELS
        np.testing.assert_array_equal(small_components(side, connectivity), slow)


def test_specks_are_counted_islands_and_holes():
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:60] = 1
    assert count_specks(mask) == 0
    mask[0, 0] = mask[50:53, 70:73] = 1  # 1 and 9 pixels
    mask[30, 30] = 0
    assert count_specks(mask) == 3
    mask[50:53, 70:74] = 1  # 12 pixels are no speck
    assert count_specks(mask) == 2
    large = np.zeros((2000, 1000), np.uint8)
    large[9:99, 9:99] = large[500:503, 500:513] = 1  # 39 pixels are less than 2 in 100,000
    assert count_specks(large) == 1
    large[500:504, 500] = 1
    assert count_specks(large) == 0


def test_summary_numbers_are_those_of_all_pixels_at_once(tmp_path):
    root = clean(tmp_path / "set")
    empty(root)
    images = [read_image(image_of(root, index)).pixels for index in range(10)]
    masks = [read_stored_mask(mask_of(root, index)).samples for index in range(10)]
    report = check_set(root)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    np.testing.assert_allclose(report["mean"], pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(report["deviation"], pixels.std(0), rtol=1e-9)
    total = np.concatenate([mask.ravel() for mask in masks])
    assert report["classes"][1]["pixel_share"] == pytest.approx((total > 127).mean(), rel=1e-12)
    assert report["classes"][0]["pixel_share"] == pytest.approx((total <= 127).mean(), rel=1e-12)
    shares = [(mask > 127).mean() for mask in masks]
    for row in report["foreground_shares"][1:]:
        assert row["masks"] == sum(row["from"] < share <= row["to"] for share in shares)
    assert sum(row["masks"] for row in report["foreground_shares"]) == 10
    assert report["sizes"]["counts"] == {
        f"{w}x{h}": sum(i.shape[:2] == (h, w) for i in images)
        for h, w in {i.shape[:2] for i in images}
    }
    bright = np.sort(cv2.cvtColor(images[0], cv2.COLOR_RGB2GRAY).ravel())
    assert (
        inspect_pair(Pair("all", "x", image_of(root, 0), None)).image_stats.brightness
        == bright[int(np.ceil(0.99 * len(bright))) - 1]
    )


def test_the_digest_is_of_pixels_and_shape_not_of_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "b.bmp")
    Image.fromarray(pixels.reshape(30, 20, 3)).save(tmp_path / "c.png")
    a, b, c = (
        inspect_pair(Pair("all", "x", tmp_path / name, None)).image_stats.digest
        for name in ("a.png", "b.bmp", "c.png")
    )
    assert a == b != c


def header_of(path):
    return inspect_pair(Pair("", path.stem, path, None)).image_header


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.jpg", {"quality": 90}, ("JPEG", True)),
        ("a.png", {}, ("PNG", False)),
        ("a.tif", {}, ("TIFF", False)),
        ("a.bmp", {}, ("BMP", False)),
        ("a.gif", {}, ("GIF", False)),
        ("a.webp", {"lossless": True}, ("WebP", False)),
        ("b.webp", {"quality": 80}, ("WebP", True)),
    ],
)
def test_the_head_of_a_file(tmp_path, name, options, expected):
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = 8
    picture.save(
        tmp_path / name, **options, **({"exif": exif} if not name.endswith(("gif", "bmp")) else {})
    )
    header = header_of(tmp_path / name)
    assert (header.format, header.lossy, header.channels) == (*expected, 3)
    assert header.orientation == (1 if name.endswith(("gif", "bmp")) else 8)
    picture.convert("L").save(tmp_path / f"grey-{name}", **options)
    assert header_of(tmp_path / f"grey-{name}").channels == (
        3 if name.endswith(("webp", "gif")) else 1
    )

"""Depths and predictors of TIFF that tifffile cannot write here, written by hand."""

import struct
import zlib

import numpy as np
import pytest

from medseg.data.decode import DecodeError, read_image, read_stored_mask

HEIGHT, WIDTH = 11, 13


def tiff(rows: list[bytes], bits: int, samples: int = 1, *, kind: int = 1, **tags: int) -> bytes:
    """One deflated strip; further tags by their number, as t317=2 for a predictor."""
    strip = zlib.compress(b"".join(rows))
    values = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 8, 262: 1 if samples == 1 else 2, 273: 8}
    values |= {277: samples, 278: HEIGHT, 279: len(strip), 339: kind}
    values |= {int(name[1:]): value for name, value in tags.items()}
    strip += bytes(len(strip) % 2)
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items())]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory


def packed(values: np.ndarray, bits: int) -> list[bytes]:
    """Each row as a string of bits, filled up to whole bytes."""
    digits = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in digits]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 7, 10, 12, 14, 31])
def test_values_of_any_number_of_bits(bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (HEIGHT, WIDTH))
    stored = read_stored_mask(tiff(packed(values, bits), bits))
    np.testing.assert_array_equal(stored.samples, values)
    assert stored.bits == bits
    expected = np.clip(np.rint(values * 255 / (2**bits - 1)), 0, 255)
    out = read_image(tiff(packed(values, bits), bits)).pixels[..., 0]
    assert np.abs(out - expected).max() <= 1


def test_24_bits_follow_the_order_of_the_file():
    values = np.random.default_rng(0).integers(0, 2**24, (HEIGHT, WIDTH))
    rows = [b"".join(int(v).to_bytes(3, "little") for v in row) for row in values]
    np.testing.assert_array_equal(read_stored_mask(tiff(rows, 24)).samples, values)


def test_signed_values_of_few_bits_keep_their_sign():
    values = np.random.default_rng(0).integers(-8, 8, (HEIGHT, WIDTH))
    stored = read_stored_mask(tiff(packed(values & 15, 4), 4, kind=2))
    np.testing.assert_array_equal(stored.samples, values)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_predictor_of_floats(dtype, samples):
    """Adobe Photoshop TIFF Technical Note 3: bytes by significance, then differences."""
    values = np.random.default_rng(0).random((HEIGHT, WIDTH, samples)).astype(dtype)
    rows = []
    for row in values:
        by_byte = (
            row.astype(f">{dtype}").view(np.uint8).reshape(row.size, -1).T.reshape(-1, samples)
        )
        rows.append(np.diff(by_byte, axis=0, prepend=np.zeros((1, samples), np.uint8)).tobytes())
    data = tiff(rows, 8 * values.itemsize, samples, kind=3, t317=3)
    np.testing.assert_array_equal(read_stored_mask(data).samples, values.squeeze())


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "f4"])
def test_the_horizontal_predictor(dtype, samples):
    rng = np.random.default_rng(0)
    values = (rng.random((HEIGHT, WIDTH, samples)) * 255).astype(dtype)
    whole = values.view(f"u{values.itemsize}")
    rows = [
        np.diff(row, axis=0, prepend=np.zeros((1, samples), row.dtype)).tobytes() for row in whole
    ]
    kind = 3 if dtype[0] == "f" else 1
    data = tiff(rows, 8 * values.itemsize, samples, kind=kind, t317=2)
    np.testing.assert_array_equal(read_stored_mask(data).samples, values.squeeze())


def test_what_is_missing_is_never_made_up():
    rows = packed(np.ones((HEIGHT, WIDTH), int), 8)
    with pytest.raises(DecodeError, match="cut off"):
        read_stored_mask(tiff(rows[:-1], 8))
    with pytest.raises(DecodeError, match="predictor 34892"):
        read_stored_mask(tiff(rows, 8, t317=34892))

"""What files store: damage, ends of files, orientation, TIFF's variety; nothing on stderr."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from medseg.data.decode import DecodeError, page_count, read_image, read_stored_mask

Y, X = np.mgrid[:40, :60]
PICTURE = np.stack([4 * X, 6 * Y, 255 - 2 * X - Y], -1).astype(np.uint8)  # without symmetry
GREY = PICTURE[..., 1].copy()
NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def encoded(pixels, file_format, **options) -> bytes:
    """The bytes of a file that Pillow writes."""
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, file_format, **options)
    return file.getvalue()


def tiff(pixels, **options) -> bytes:
    """The bytes of a TIFF that tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


@pytest.mark.parametrize("tail", [b"\0" * 50_000, b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WebP", "GIF", "BMP"])
def test_bytes_behind_the_end_do_not_matter(file_format, tail):
    data = encoded(PICTURE, file_format)
    np.testing.assert_array_equal(read_image(data + tail).pixels, read_image(data).pixels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_damaged_in_its_middle_is_an_error(options):
    data = bytearray(encoded(NOISE, "JPEG", **options))
    middle = len(data) // 2
    data[middle : middle + 512] = bytes(512)
    with pytest.raises(DecodeError, match=r"damaged|cut off"):
        read_image(bytes(data))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("ending", [b"", b"\xff\xd9"])
def test_a_jpeg_cut_off_is_an_error_with_an_end_marker_too(share, ending):
    data = encoded(NOISE, "JPEG")
    with pytest.raises(DecodeError, match=r"damaged|cut off"):
        read_image(data[: int(share * len(data))] + ending)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WebP", "BMP"])
def test_a_picture_cut_off_is_an_error(file_format):
    data = encoded(NOISE, file_format)
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(DecodeError):
            read_image(data[: int(share * len(data))])


def test_a_wrong_checksum_of_a_png_is_an_error():
    data = bytearray(encoded(NOISE, "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(DecodeError, match="checksum"):
        read_image(bytes(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WebP", "TIFF"])
def test_masks_turn_by_their_own_tag_as_images_do(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if file_format == "WebP" else {}
    mask = np.where((X > 40) & (Y < 10), 255, 0).astype(np.uint8)
    data = encoded(np.dstack([mask] * 3), file_format, exif=exif, **lossless)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L")) > 127
    stored = read_stored_mask(data)
    np.testing.assert_array_equal(stored.samples[..., 0] > 127, wanted)
    np.testing.assert_array_equal(read_image(data).pixels[..., 0] > 127, wanted)


def test_palettes_give_indices_in_every_format():
    indices = (X // 10).astype(np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 128, 128])
    for file_format in ("PNG", "TIFF", "BMP", "GIF"):
        stored = read_stored_mask(encoded(picture, file_format))
        np.testing.assert_array_equal(stored.palette[stored.samples], picture.convert("RGB"))
        if file_format != "GIF":  # Pillow sorts a GIF's palette by use
            np.testing.assert_array_equal(stored.samples, indices, err_msg=file_format)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"planarconfig": "separate"},
        {"tile": (16, 32)},
        {"tile": (16, 16), "planarconfig": "separate"},
        {"rowsperstrip": 7},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "zlib"},
        {"compression": "zlib", "rowsperstrip": 9, "byteorder": ">", "planarconfig": "separate"},
        {"compression": "zlib", "predictor": True, "tile": (16, 16)},
        {"compression": "lzma"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "plain",
)
def test_tiffs_hold_what_was_written(dtype, options):
    if "predictor" in options and dtype in ("u8", "f2", "f4", "f8"):
        pytest.skip("tifffile does not write it")
    values = np.random.default_rng(1).integers(0, 100, (40, 60, 3)).astype(dtype)
    separate = "planarconfig" in options  # tifffile takes the planes first
    stored = values.transpose(2, 0, 1) if separate else values
    data = tiff(np.ascontiguousarray(stored), photometric="rgb", **options)
    for _ in range(2):  # memory as it was found would differ
        np.testing.assert_array_equal(read_stored_mask(data).samples, values)
    grey = tiff(values[..., 0].copy(), photometric="minisblack", **options | {"planarconfig": None})
    assert read_stored_mask(grey).samples.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read_stored_mask(grey).samples, values[..., 0])


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_deflate", "raw"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16", "F"])
def test_tiffs_of_pillow_are_read_as_by_pillow(mode, compression):
    kinds = {"I;16": np.uint16, "F": np.float32}
    source = Image.fromarray(GREY.astype(kinds[mode])) if mode in kinds else None
    picture = source or Image.fromarray(PICTURE).convert(mode)
    stored = read_stored_mask(encoded(picture, "TIFF", compression=compression))
    colours = np.asarray(picture)
    samples = stored.samples if stored.alpha is None else np.dstack([stored.samples, stored.alpha])
    np.testing.assert_array_equal(samples, colours)
    assert stored.bits == {"1": 1, "I;16": 16, "F": 32}.get(mode, 8)


@pytest.mark.parametrize("kind", ["noise", "picture", "flat"])
def test_damage_in_an_lzw_tiff_is_an_error_where_libtiff_says_so(kind, capfd):
    flat = np.full((90, 80, 3), 7, np.uint8)
    pixels = {"noise": NOISE, "picture": PICTURE, "flat": flat}[kind]
    data = encoded(pixels, "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(data).pixels, pixels)
    rng = np.random.default_rng(2)
    for _ in range(20):
        at = int(rng.integers(8, len(data) - 250)) if len(data) > 400 else 9
        wrong = data[:at] + rng.bytes(4) + data[at + 4 :]
        try:
            wanted = np.asarray(Image.open(io.BytesIO(wrong)))
        except Exception:  # Pillow's decoders raise many kinds for damaged files
            with pytest.raises(DecodeError):
                read_image(wrong)
            continue
        np.testing.assert_array_equal(read_image(wrong).pixels, wanted)
    capfd.readouterr()  # what libtiff says by Pillow


def raw_tiff(rows: bytes, tags: dict[int, list[int]], order: str) -> bytes:
    """A TIFF 11 wide and 13 high around a strip as it is to lie in the file."""
    tags = {256: [11], 257: [13], 273: [8], 277: [1], 278: [13], 279: [len(rows)]} | tags
    body = rows + bytes(len(rows) % 2)
    entries, more = b"", b""
    behind = 8 + len(body) + 2 + 12 * len(tags) + 4
    for code, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, more = struct.pack(f"{order}I", behind + len(more)), more + packed
        entries += struct.pack(f"{order}HHI", code, 4, len(values)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 7, 10, 12, 14, 20, 31])
def test_any_number_of_bits_of_a_tiff(bits, order, samples):
    values = np.random.default_rng(bits).integers(0, 2**bits, (13, 11 * samples))
    digits = (values[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(digits.reshape(13, -1).astype(np.uint8), axis=1).tobytes()
    photometric = {262: [2 if samples == 3 else 1], 277: [samples]}
    data = raw_tiff(rows, {258: [bits] * samples, 259: [1]} | photometric, order)
    stored = read_stored_mask(data)
    assert stored.bits == bits
    np.testing.assert_array_equal(stored.samples.reshape(13, -1), values)
    seen = read_image(data).pixels.reshape(13, 11, 3)[..., :samples].reshape(13, -1)
    assert np.abs(seen - values * 255 / (2**bits - 1)).max() <= 0.51


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("dtype", "order"), [("f2", "<"), ("f4", "<"), ("f4", ">"), ("f8", ">")])
def test_the_predictor_of_floats(dtype, order, samples):
    values = np.random.default_rng(3).random((13, 11 * samples)).astype(dtype)
    size = values.itemsize
    by_byte = values.astype(f">{dtype}").view(np.uint8).reshape(13, -1, size)
    rows = by_byte.swapaxes(1, 2).reshape(13, -1)
    differences = rows.copy()
    differences[:, samples:] -= rows[:, :-samples]
    tags = {258: [8 * size] * samples, 259: [8], 262: [2 if samples == 3 else 1], 277: [samples]}
    tags |= {317: [3], 339: [3] * samples}
    data = raw_tiff(zlib.compress(differences.tobytes()), tags, order)
    np.testing.assert_array_equal(read_stored_mask(data).samples.reshape(13, -1), values)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_a_png_are_not_scaled(bits):
    values = (X % 2**bits).astype(np.uint8)
    picture = encoded(values * np.uint8(255 // (2**bits - 1)), "PNG")
    rows = np.packbits(
        np.unpackbits(values[..., None], axis=2)[..., -bits:].reshape(40, -1), axis=1
    )
    stored = read_stored_mask(_png_of_bits(picture, rows, bits))
    assert stored.bits == bits
    np.testing.assert_array_equal(stored.samples, values)


def _png_of_bits(like: bytes, rows: np.ndarray, bits: int) -> bytes:
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 60, 40, bits, 0, 0, 0, 0)
    return (
        like[:8]
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero_is_a_word_and_not_applied_to_masks_but_to_images(dtype):
    values = (GREY.astype(dtype) * np.dtype(dtype).type(257 if dtype == "u2" else 1)).astype(dtype)
    data = tiff(values, photometric="miniswhite")
    stored = read_stored_mask(data)
    assert stored.white_is_zero
    np.testing.assert_array_equal(stored.samples, values)
    np.testing.assert_array_equal(read_image(data).pixels[..., 0], 255 - GREY)


def test_alpha_of_a_tiff_is_apart_and_not_multiplied_in():
    alpha = (X * 4).astype(np.uint8)
    data = tiff(np.dstack([PICTURE, alpha]), photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_stored_mask(data).alpha, alpha)
    np.testing.assert_array_equal(read_image(data).pixels, PICTURE)


def test_what_a_tiff_cannot_be_read_as_is_named():
    with pytest.raises(DecodeError, match="CIELAB"):
        read_image(tiff(PICTURE, photometric="cielab"))


def test_pages_are_counted_and_each_is_read():
    pages = np.stack([np.full((20, 30), 20 * page, np.uint8) for page in range(5)])
    data = tiff(pages, photometric="minisblack")
    assert page_count(data) == 5
    for page in range(5):
        np.testing.assert_array_equal(read_stored_mask(data, page=page).samples, pages[page])
        np.testing.assert_array_equal(read_image(data, page=page).pixels[..., 0], pages[page])
    with pytest.raises(DecodeError, match="has no page 6; it holds 5"):
        read_image(data, page=5)


def damaged_files() -> dict[str, bytes]:
    """A small file of each kind."""
    small = NOISE[:12, :16].copy()
    return {
        "jpeg": encoded(small, "JPEG"),
        "png": encoded(small, "PNG"),
        "webp": encoded(small, "WebP"),
        "gif": encoded(small, "GIF"),
        "bmp": encoded(small, "BMP"),
        "tiff": encoded(small, "TIFF", compression="tiff_lzw"),
        "tiles": tiff(small, photometric="rgb", tile=(16, 16), compression="zlib"),
        "fax": encoded(Image.fromarray(NOISE).convert("1"), "TIFF", compression="group4"),
        "tags": tiff(small, photometric="rgb", extratags=[(65000, "s", 0, "instrument", True)]),
    }


FILES = damaged_files()


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(FILES)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    share=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_a_damaged_file_is_an_array_or_one_error(kind, flips, share):
    data = bytearray(FILES[kind])
    for place, value in flips:
        data[int(place * len(data))] = value
    data = bytes(data[: int(share * len(data))])
    for read in (read_image, read_stored_mask):
        try:
            read(data)
        except DecodeError:
            continue


def test_no_line_of_a_c_library_reaches_standard_error(capfd):
    for data in FILES.values():
        middle = len(data) // 3
        hole = data[:middle] + bytes(40) + data[middle + 40 :]
        for wrong in (data, hole, data[: len(data) // 2], data[:-6] + bytes(6)):
            try:
                read_image(wrong)
            except DecodeError:
                continue
    assert capfd.readouterr().err == ""

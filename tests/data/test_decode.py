"""Every format, depth and orientation; and what is no image is refused by name."""

import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from medseg.data.decode import DecodeError, read_image, read_stored_mask, set_max_pixels
from medseg.data.decode.headers import header_size


@pytest.fixture
def picture():
    """Smooth, so that lossy formats stay close; no symmetry, so that a wrong turn shows."""
    y, x = np.mgrid[:40, :60]
    return np.stack([4 * x, 6 * y, 255 - 2 * x - y], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("suffix", "tolerance"),
    [("jpg", 6), ("jpeg", 6), ("png", 0), ("tif", 0), ("tiff", 0), ("bmp", 0), ("webp", 12)],
)
def test_formats(tmp_path, picture, suffix, tolerance):
    path = tmp_path / f"ä b.{suffix}"  # a name that is not ASCII
    Image.fromarray(picture).save(
        path, **({"quality": 97} if suffix in ("jpg", "jpeg", "webp") else {})
    )
    out = read_image(path).pixels
    assert out.dtype == np.uint8 and out.shape == picture.shape
    assert np.abs(out.astype(int) - picture).mean() <= tolerance


def test_gif_palette_grey_and_alpha(tmp_path, picture):
    image = Image.fromarray(picture)
    image.save(tmp_path / "a.gif")
    assert read_image(tmp_path / "a.gif").pixels.shape == picture.shape
    image.quantize(64).save(tmp_path / "p.png")
    assert np.abs(read_image(tmp_path / "p.png").pixels.astype(int) - picture).mean() < 12
    image.convert("L").save(tmp_path / "l.png")
    grey = read_image(tmp_path / "l.png").pixels
    assert grey.shape == (40, 60, 3) and (grey[..., 0] == grey[..., 2]).all()
    rgba = np.dstack(
        [picture, np.zeros((40, 60), np.uint8)]
    )  # fully transparent: alpha is dropped, not applied
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, picture)
    Image.fromarray(picture[..., 0]).convert("LA").save(tmp_path / "la.png")
    assert np.array_equal(
        read_image(tmp_path / "la.png", channels=1).pixels[..., 0], picture[..., 0]
    )
    assert read_image(tmp_path / "l.png", channels=1).pixels.shape == (40, 60, 1)


def test_depths(tmp_path, picture):
    deep = picture.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, picture)
    twelve = np.rint(picture * (4095 / 255)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", twelve)
    assert (
        np.abs(read_image(tmp_path / "b.tif", bit_depth=12).pixels.astype(int) - picture).max() <= 1
    )
    tifffile.imwrite(tmp_path / "c.tif", (picture / 255).astype(np.float32))
    assert np.array_equal(read_image(tmp_path / "c.tif").pixels, picture)
    tifffile.imwrite(tmp_path / "d.tif", picture.astype(np.float32))
    with pytest.raises(DecodeError, match="floats from 0 to 1"):
        read_image(tmp_path / "d.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, picture, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=98, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    out = read_image(tmp_path / "a.jpg").pixels
    assert out.shape == upright.shape
    assert np.abs(out.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_a_truncated_file_is_an_error_and_not_a_grey_half(tmp_path, picture, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(
        path
    )
    path.write_bytes(path.read_bytes()[:-200])
    for read in (read_image, read_stored_mask):
        with pytest.raises(DecodeError, match=rf"a\.{suffix}: the file is cut off"):
            read(path)


def test_a_header_that_promises_too_many_pixels(tmp_path):
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0),
        b"IDAT" + zlib.compress(b"\0" * 99),
        b"IEND",
    ]
    (tmp_path / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
            for chunk in chunks
        )
    )
    for read in (read_image, read_stored_mask):
        with pytest.raises(
            DecodeError,
            match=r"huge\.png: 200000x200000 pixels are more than --max-pixels 250000000",
        ):
            read(tmp_path / "huge.png")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (b"hello, I am text\n" * 9, "holds text"),
        (bytes(range(256)) * 9, "no image that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 80 + b"IEND", "no image"),
        (b"GIF89a" + b"\0" * 60, "no image"),
        (b"II*\0" + b"\xff" * 60, "TIFF|no image"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, words):
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    for read in (read_image, read_stored_mask):
        with pytest.raises(DecodeError, match=rf"odd\.png: .*({words})"):
            read(path)
    with pytest.raises(DecodeError, match="cannot be read"):
        read_image(tmp_path / "none.png")


def test_real_files_of_every_set(real):
    for name, suffix, shape in (
        ("Kvasir-SEG", "jpg", None),
        ("CVC-ClinicDB", "png", (288, 384)),
        ("CVC-ColonDB", "jpg", (500, 574)),
        ("ETIS-LaribPolypDB-first24", "webp", (966, 1225)),
        ("ISBI2012-EM", "png", (512, 512)),
    ):
        for path in sorted((real / name / "images").iterdir())[:3]:
            mask_path = next((real / name / "masks").glob(f"{path.stem}.*"))
            image, mask = read_image(path).pixels, read_stored_mask(mask_path).samples
            assert path.suffix == f".{suffix}"
            assert image.shape[:2] == mask.shape[:2] == (shape or mask.shape[:2])
            assert mask.max() > 200


def headers(tmp_path):
    """A small file of each format, and where its header holds width and height."""
    pixels = np.zeros((40, 50), np.uint8)
    for name in ("a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(pixels).save(tmp_path / "lossless.webp", lossless=True)
    tifffile.imwrite(tmp_path / "big.tif", pixels, bigtiff=True)
    tifffile.imwrite(tmp_path / "lzma.tif", pixels, compression="lzma")
    return sorted(tmp_path.iterdir())


def test_the_size_in_the_header_is_that_of_the_image(tmp_path):
    for path in headers(tmp_path):
        if path.suffix != ".tif":  # checked page by page
            assert header_size(path.read_bytes()) == (50, 40), path.name


def test_an_image_above_the_limit_is_refused_and_one_at_it_is_read(tmp_path):
    files = headers(tmp_path)
    try:
        for limit, refused in ((2000, False), (1999, True)):
            set_max_pixels(limit)
            for path in files:
                if refused:
                    words = f"50x40 pixels are more than --max-pixels {limit}"
                    with pytest.raises(DecodeError, match=words):
                        read_image(path)
                else:
                    assert read_image(path).pixels.shape == (40, 50, 3)
    finally:
        set_max_pixels(250_000_000)


def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    rows = zlib.compress(b"\0" * 30_001 * 300)  # a hundredth of the rows that the header promises
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0),
        b"IDAT" + rows,
        b"IEND",
    ]
    packed = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    ]
    bombs = {
        "bomb.png": b"\x89PNG\r\n\x1a\n" + b"".join(packed),
        "bomb.gif": gif(60_000, 60_000),
        "disposal.gif": gif(60_000, 60_000, disposal=2),
        "frame.gif": gif(60_000, 60_000, canvas=(10, 10)),
        "between.gif": gif(60_000, 60_000, canvas=(10, 10), before=b"?\x3b"),
        "bomb.tif": tiff(30_000, 30_000),
        "bomb.webp": webp(16_383, 16_383),
        "bomb.bmp": bmp(50_000, 50_000),
    }
    tracemalloc.start()
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
        for read in (read_image, read_stored_mask):
            start = time.perf_counter()
            with pytest.raises(DecodeError, match="pixels are more than --max-pixels"):
                read(tmp_path / name)
            assert time.perf_counter() - start < 0.2, name
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("more", [{"samples": 60_000}, {"depth": 20_000}])
def test_channels_and_depth_count_against_the_limit_too(tmp_path, more):
    """Empty strips become zeros in memory, as many as a header of 134 bytes asks for."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(300, 300, **more))
    tracemalloc.start()
    for read in (read_image, read_stored_mask):
        words = r"a\.tif: \d+ values are more than 4 channels of --max-pixels 250000000"
        with pytest.raises(DecodeError, match=words):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_a_damaged_header_does_not_hide_the_size(tmp_path):
    """OpenCV decodes these; Pillow refuses them, so that it cannot tell their size."""
    png, jpeg = (tmp_path / name for name in ("a.png", "a.jpg"))
    headers(tmp_path)
    text = png.read_bytes()
    wrong_sum = struct.pack(">I", 3) + b"tEXta\0b" + b"\0" * 4
    png.write_bytes(text[:33] + wrong_sum + text[33:])
    text = jpeg.read_bytes()
    short_segments = [b"\xff\xe0\0\7JFIF\0", b"\xff\xe2\0\x0fICC_PROFILE\0\1"]
    jpeg.write_bytes(text[:2] + b"".join(short_segments) + text[2:])
    for path in (png, jpeg):
        assert header_size(path.read_bytes()) == (50, 40)
        assert read_image(path).pixels.shape == (40, 50, 3)


@pytest.mark.parametrize("suffix", [".avif", ".jp2", ".ppm", ".pam", ".ras"])
def test_formats_whose_size_is_not_checked_are_refused(tmp_path, picture, suffix):
    try:
        data = cv2.imencode(suffix, picture)[1].tobytes()
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {suffix}")
    (tmp_path / "a.png").write_bytes(data)
    for read in (read_image, read_stored_mask):
        with pytest.raises(DecodeError, match=r"a\.png: holds .*; expected a JPEG, PNG"):
            read(tmp_path / "a.png")


def test_sizes_that_are_no_numbers(tmp_path):
    path = tmp_path / "a.tif"
    headers(tmp_path)
    data = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    assert struct.unpack_from("<H", data, first + 2)[0] == 256  # the tag of the width
    struct.pack_into("<H", data, first + 4, 2)  # as text
    path.write_bytes(data)
    for read in (read_image, read_stored_mask):
        with pytest.raises(DecodeError, match=r"a\.tif: "):
            read(path)
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000000), }".ljust(117)
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0\x76\0" + head + b"\n")
    with pytest.raises(DecodeError, match=r"a\.npy: cannot be read as an array"):
        read_stored_mask(tmp_path / "a.npy")


def webp(width, height):
    """An extended WebP header with nothing behind it."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(width, height, samples=1, depth=1):
    """A page that claims to be compressed, and has no strip."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 0, 277: samples, 278: height}
    tags |= {279: 0, 32997: depth}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + b"\0" * 4


def gif(width, height, disposal=0, canvas=None, before=b""):
    """A frame of that size with one code in it; `before` it, bytes that belong nowhere."""
    screen = struct.pack("<HH", *(canvas or (width, height))) + b"\x80\0\0" + b"\0" * 6
    screen += b"!\xf9\x04" + bytes([disposal << 2]) + b"\0" * 4 + before
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0;"
    return b"GIF89a" + screen + frame


def bmp(width, height):
    """The headers of a BMP of 24 bits with nothing behind them."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 14 + len(info), 0, 0, 54) + info


def test_the_bytes_of_a_file_are_read_as_the_file(tmp_path):
    for path in headers(tmp_path):
        data = path.read_bytes()
        np.testing.assert_array_equal(read_image(data).pixels, read_image(path).pixels)
        one, other = read_stored_mask(data), read_stored_mask(path)
        np.testing.assert_array_equal(one.samples, other.samples)
    with pytest.raises(DecodeError, match="the image: holds text"):
        read_image(b"hello, I am text")

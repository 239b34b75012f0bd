"""TIFF pages to the samples that they store.

tifffile reads the tags; the strips or tiles are put together here, because no reader at hand takes
all that microscopes and scanners write: OpenCV returns uninitialised memory for separate planes,
inverts what is "white is zero" at some depths and multiplies colours by alpha; tifffile has no LZW,
JPEG or fax codec of its own; Pillow cuts 16-bit colours to 8.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tifffile

from medseg.data.decode.source import DecodeError, Source, check_size, check_values
from medseg.data.decode.tiff_blocks import JPEG, LOSSY, Layout, decode_rows, unsupported

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it has to say is in our error

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # photometric kinds
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
ASSOCIATED = 1  # of extra samples: colours are multiplied by this alpha
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: a thumbnail, a transparency mask
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # NumPy's, by SampleFormat; 4: undefined


@dataclass(frozen=True)
class TiffPage:
    """One page as stored.

    samples: [H, W, S] unsigned, signed or float, `bits` of each value used; palette: uint8 [N, 3]
    or None; extra: kinds of the samples beyond the colours; orientation: 1 (upright) to 8.
    """

    samples: np.ndarray
    bits: int
    photometric: int
    palette: np.ndarray | None
    extra: tuple[int, ...]
    orientation: int
    lossy: bool
    pages: int


def read_page(source: Source, number: int = 0) -> TiffPage:
    """The samples of a page, counted from 0, with thumbnails and masks left out.

    Raises `DecodeError` for a damaged file, for a page beyond the last, and by name for a kind
    that cannot be read.
    """
    with _opened(source) as pages:
        if number >= len(pages):
            raise no_such_page(source.name, number, len(pages))
        page = pages[number]
        check_size(source.name, page.imagewidth, page.imagelength)
        photometric = int(page.photometric)
        if photometric not in COLOURS:
            raise unsupported(source, f"photometric kind {_name(page.photometric)}")
        layout = _layout(source, page)
        if photometric == YCBCR and not layout.is_jpeg and layout.subsampling != (1, 1):
            raise unsupported(source, f"YCbCr with subsampling {layout.subsampling}")
        samples = _assemble(layout, decode_rows(source, layout))
        return TiffPage(
            samples=samples,
            bits=layout.bits,
            photometric=RGB if layout.is_jpeg and samples.shape[2] == 3 else photometric,
            palette=_palette(page) if photometric == PALETTE else None,
            extra=tuple(map(int, page.extrasamples)),
            orientation=_orientation(page),
            lossy=layout.compression in LOSSY,
            pages=len(pages),
        )


def count_pages(source: Source) -> int:
    """How many pictures the file holds, with thumbnails and masks left out."""
    with _opened(source) as pages:
        return len(pages)


def size_and_orientation(source: Source) -> tuple[int, int, int]:
    """Width and height of the first page as stored, and its orientation, 1 (upright) to 8."""
    with _opened(source) as pages:
        width, height = pages[0].imagewidth, pages[0].imagelength
        check_size(source.name, width, height)
        return width, height, _orientation(pages[0])


@contextmanager
def _opened(source: Source) -> Iterator[list[tifffile.TiffPage]]:
    """The pages of a file; whatever goes wrong in the block becomes a `DecodeError`."""
    try:
        with tifffile.TiffFile(io.BytesIO(source.data)) as file:
            pages = list(file.pages)
            main = [page for page in pages if not int(page.subfiletype) & (_REDUCED | _MASK)]
            if not pages:
                raise ValueError("no page in it")
            yield main or pages
    except DecodeError:
        raise
    except Exception as error:  # tifffile raises many kinds for damaged files
        raise unsupported(source, " ".join(str(error).split())[:100]) from None


def no_such_page(name: str, number: int, pages: int) -> DecodeError:
    """What to say where a file holds fewer pictures than asked for."""
    return DecodeError(f"{name}: has no page {number + 1}; it holds {pages}")


def _layout(source: Source, page: tifffile.TiffPage) -> Layout:
    """How the samples of a page lie in the file; `DecodeError` by name for what is not known."""
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    if page.imagedepth != 1:
        check_values(source.name, width * height * samples * page.imagedepth)
        raise unsupported(source, f"{page.imagedepth} layers of depth")
    bits = _one(source, page, "BitsPerSample", page.bitspersample)
    kind = _KINDS.get(int(_one(source, page, "SampleFormat", page.sampleformat)))
    if kind is None or (kind == "f" and bits not in (16, 32, 64)) or not 1 <= bits <= 64:
        raise unsupported(source, f"{bits} bits of sample format {_name(page.sampleformat)}")
    if int(page.compression) == JPEG and int(page.photometric) == CMYK:
        samples = 3  # the JPEG's decoder turns them into RGB
    separate = int(page.planarconfig) == 2 and samples > 1
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else None
    rows = min(page.rowsperstrip or height, height)
    block_height, block_width = tile or (rows, width)
    if not (width and height and samples and block_height and block_width):
        raise unsupported(source, "no picture in it")
    layout = Layout(
        height=height,
        width=width,
        planes=samples if separate else 1,
        depth=1 if separate else samples,
        block_height=block_height,
        block_width=block_width,
        tiled=page.is_tiled,
        bits=bits,
        kind=kind,
        order=page.parent.byteorder,
        compression=int(page.compression),
        predictor=int(page.predictor),
        reversed_bits=int(page.fillorder) == 2,
        photometric=int(page.photometric),
        subsampling=tuple(page.subsampling or (1, 1)),
        fax_options=int(_tag(page, 292, 0)) if int(page.compression) == 3 else 0,
        offsets=tuple(page.dataoffsets),
        counts=tuple(page.databytecounts),
        jpeg_tables=page.jpegtables or b"",
    )
    # tiles reach beyond the picture, as far as they like
    check_values(source.name, layout.rows * layout.planes * layout.row_values)
    return layout


def _one(source: Source, page: tifffile.TiffPage, tag: str, value: object) -> int:
    """The value of a tag that may have one for each sample, all the same."""
    found = page.tags.get(tag)
    values = set(found.value) if found and isinstance(found.value, Sequence) else {value}
    if len(values) > 1:
        raise unsupported(source, f"samples of different {tag}: {', '.join(map(str, values))}")
    return int(values.pop())


def _assemble(layout: Layout, planes: Sequence[np.ndarray]) -> np.ndarray:
    """[H, W, S] of the rows of each plane, strip below strip or tile below tile."""
    whole = []
    for rows in planes:  # [rows, values]
        blocks = rows.reshape(-1, layout.block_width, layout.depth)
        if layout.tiled:
            grid = blocks.reshape(
                layout.down, layout.across, layout.block_height, layout.block_width, layout.depth
            )
            blocks = grid.swapaxes(1, 2).reshape(
                layout.down * layout.block_height, -1, layout.depth
            )
        whole.append(blocks[: layout.height, : layout.width])
    return whole[0] if len(whole) == 1 else np.concatenate(whole, axis=2)


def _palette(page: tifffile.TiffPage) -> np.ndarray:
    """uint8 [N, 3] of a table of 16 bits; some programs store 8 bits in it."""
    table = np.asarray(page.colormap).reshape(3, -1).T
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)


def _orientation(page: tifffile.TiffPage) -> int:
    value = _tag(page, 274, 1)
    return int(value) if value in range(1, 9) else 1


def _tag(page: tifffile.TiffPage, code: int, default: int) -> int:
    found = page.tags.get(code)
    return found.value if found else default


def _name(value: object) -> str:
    return getattr(value, "name", str(value))

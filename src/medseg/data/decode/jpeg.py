"""JPEGs to arrays, and whether the decoder complained.

libjpeg draws the rest of a damaged file in grey or garbage, and says so in a warning that OpenCV
prints and Pillow drops. simplejpeg wraps the same libjpeg-turbo, gives the same pixels in less time
than either, and raises for a warning.
"""

from __future__ import annotations

import io
import re
import struct

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from medseg.data.decode.headers import jpeg_frame, jpeg_without_exif
from medseg.data.decode.source import cut_off, damaged

try:
    import simplejpeg
except ImportError:  # a machine without it: Pillow finds missing ends, but no damage in the middle
    simplejpeg = None

MODES = {1: "GRAY", 3: "RGB", 4: "CMYK"}  # by the number of components
# what libjpeg says where pixels are wrong; its other warnings are about headers
_DAMAGE = re.compile(
    r"premature end|bad Huffman code|bad arithmetic code|instead of RST"
    r"|extraneous bytes before marker 0x(d[0-9a]|c4)|Inconsistent progression"
)


def decode_jpeg(name: str, data: bytes) -> np.ndarray:
    """uint8 [H, W, 1] of a grey JPEG, [H, W, 3] RGB of any other.

    Its EXIF orientation is not applied. Bytes behind the end marker do not matter. Raises
    `DecodeError` for a file that is damaged or cut off before it.
    """
    try:
        mode = MODES[jpeg_frame(data)[2]]
    except (LookupError, ValueError, struct.error):
        raise damaged(name, "its header") from None
    if simplejpeg is None:
        return _with_pillow(name, data)
    try:
        pixels = simplejpeg.decode_jpeg(data, mode)
        return _with_pillow(name, data) if mode == "CMYK" else pixels
    except ValueError as error:
        if "Premature end of JPEG file" in str(error):
            raise cut_off(name) from None
        if _DAMAGE.search(str(error)):
            raise damaged(name, error) from None
    return _with_pillow(name, data)  # a harmless warning, or a kind that only Pillow takes


def _with_pillow(name: str, data: bytes) -> np.ndarray:
    try:
        picture = JpegImageFile(io.BytesIO(jpeg_without_exif(data)))
        pixels = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        if "truncated" in str(error):
            raise cut_off(name) from None
        raise damaged(name, error) from None
    return pixels.reshape(*pixels.shape[:2], -1)

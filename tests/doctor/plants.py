"""A clean data set, and each fault planted into it."""

import cv2
import numpy as np
from PIL import Image

from conftest import scene, write_part
from medseg.config import CheckConfig
from medseg.doctor.check import check

SEVERAL = (
    np.array([[[0, 0, 0], [200, 30, 30]], [[30, 200, 30], [30, 30, 200]]], np.uint8)
    .repeat(30, 0)
    .repeat(30, 1)
)


def check_set(root, **options):
    """The report of a check of the data set in `root`."""
    return check(CheckConfig(data=str(root), progress=False, **options))


def clean(root):
    """Ten pairs in which nothing is wrong."""
    write_part(root, 10)
    return root


def image_of(root, index):
    return root / "images" / f"frame{index:03}.png"


def mask_of(root, index):
    return root / "masks" / f"frame{index:03}.png"


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def soft(mask, sigma):
    return cv2.GaussianBlur(mask, (0, 0), sigma)


def unreadable(root):
    image_of(root, 1).write_bytes(image_of(root, 1).read_bytes()[:-300])
    mask_of(root, 2).write_bytes(b"")
    image_of(root, 3).write_text("not an image")
    return {"frame001", "frame002", "frame003"}


def unpaired(root):
    mask_of(root, 1).unlink()
    mask_of(root, 2).with_name("frame002_mask.png").write_bytes(mask_of(root, 2).read_bytes())
    mask_of(root, 3).with_name("lonely.png").write_bytes(mask_of(root, 4).read_bytes())
    cv2.imwrite(str(image_of(root, 5).with_suffix(".bmp")), scene(77)[0])
    return {"frame001", "frame002", "lonely", "frame005"}


def size_mismatch(root):
    mask = read(mask_of(root, 3))
    cv2.imwrite(
        str(mask_of(root, 3)), cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    )
    cv2.imwrite(str(mask_of(root, 4)), np.pad(read(mask_of(root, 4)), ((0, 9), (0, 0))))
    return {"frame003", "frame004"}


def rotated(root):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated clockwise
    image, mask = read(image_of(root, 1)), read(mask_of(root, 1))
    options = {"quality": 98, "subsampling": 0}
    Image.fromarray(np.rot90(image[..., ::-1]).copy()).save(
        image_of(root, 1).with_suffix(".jpg"), exif=exif, **options
    )
    image_of(root, 1).unlink()
    cv2.imwrite(str(mask_of(root, 1)), np.rot90(mask))
    exif[0x0112] = 3
    image = read(image_of(root, 6))
    Image.fromarray(image[::-1, ::-1, ::-1].copy()).save(
        image_of(root, 6).with_suffix(".jpg"), exif=exif, **options
    )
    image_of(root, 6).unlink()
    return {"frame001", "frame006"}


def values(root):
    cv2.imwrite(str(mask_of(root, 1)), read(mask_of(root, 1)) // 255)  # 0 and 1
    cv2.imwrite(str(mask_of(root, 2)), soft(read(mask_of(root, 2)), 0.5))
    residue = read(mask_of(root, 3))
    residue[:20] = np.maximum(residue[:20], 11)
    cv2.imwrite(str(mask_of(root, 3)), residue)
    small = np.zeros_like(read(mask_of(root, 4)))
    cv2.imwrite(
        str(mask_of(root, 4)), cv2.circle(small, (30, 30), 4, 127, -1)
    )  # below the threshold, and 1 % of the image
    cv2.imwrite(str(mask_of(root, 5)), read(mask_of(root, 5)) // 85)  # 0 and 3
    cv2.imwrite(
        str(mask_of(root, 6)),
        cv2.resize(SEVERAL, read(mask_of(root, 6)).shape[::-1], interpolation=cv2.INTER_NEAREST),
    )
    return {f"frame{index:03}" for index in range(1, 7)}


def ringing(root):
    mask = read(mask_of(root, 1))
    cv2.imwrite(str(mask_of(root, 1).with_suffix(".jpg")), mask, [cv2.IMWRITE_JPEG_QUALITY, 80])
    mask_of(root, 1).unlink()
    coded = cv2.imencode(".jpg", read(mask_of(root, 2)), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    cv2.imwrite(
        str(mask_of(root, 2)), cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    )  # the format does not tell any more
    return {"frame001", "frame002"}


def dithered(root):
    Image.fromarray(soft(read(mask_of(root, 4)), 2)).convert("1").save(mask_of(root, 4))
    return {"frame004"}


def inverted(root):
    cv2.imwrite(str(mask_of(root, 4)), 255 - read(mask_of(root, 4)))
    return {"frame004"}


def all_inverted(root):
    for index in range(10):
        cv2.imwrite(str(mask_of(root, index)), 255 - read(mask_of(root, index)))
    return {""}


def empty(root):
    cv2.imwrite(str(mask_of(root, 4)), read(mask_of(root, 4)) * 0)
    return {"frame004"}


def full(root):
    cv2.imwrite(str(mask_of(root, 4)), read(mask_of(root, 4)) * 0 + 255)
    return {"frame004"}


def specks(root):
    mask = read(mask_of(root, 4))
    mask[0, 0] = 255  # as in Kvasir-SEG
    cv2.imwrite(str(mask_of(root, 4)), mask)
    mask = read(mask_of(root, 5))
    y, x = np.argwhere(cv2.erode(mask, np.ones((7, 7))) > 0)[0]
    mask[y, x] = 0
    cv2.imwrite(str(mask_of(root, 5)), mask)
    return {"frame004", "frame005"}


def dark(root):
    cv2.imwrite(str(image_of(root, 4)), read(image_of(root, 4)) // 12)
    return {"frame004"}


def duplicate(root):
    Image.open(image_of(root, 1)).save(
        image_of(root, 7), compress_level=1
    )  # other bytes, the same pixels
    mask_of(root, 7).write_bytes(mask_of(root, 1).read_bytes())
    return {"frame007"}


def leak(root):
    for part in ("train", "validation", "test"):
        if not (root / part).exists():
            (root / part).mkdir()
    for kind in ("images", "masks"):
        (root / kind).rename(root / "train" / kind)
    write_part(root / "validation", 3, 100)
    write_part(root / "test", 3, 200)
    for kind in (image_of, mask_of):
        kind(root / "test", 201).write_bytes(kind(root / "train", 4).read_bytes())
    return {"frame004"}


def aspect(root):
    cv2.imwrite(str(image_of(root, 4)), read(image_of(root, 4))[24:39])
    cv2.imwrite(
        str(mask_of(root, 4)),
        cv2.circle(np.zeros((15, read(image_of(root, 4)).shape[1]), np.uint8), (30, 7), 5, 255, -1),
    )
    return {"frame004"}


def channels(root):
    cv2.imwrite(str(image_of(root, 4)), read(image_of(root, 4))[..., 0])
    image = read(image_of(root, 5))
    cv2.imwrite(str(image_of(root, 5)), np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]))
    return {"frame004", "frame005"}


def mislabelled(root):
    Image.open(image_of(root, 4)).save(image_of(root, 4), "JPEG", quality=95)
    Image.open(mask_of(root, 5)).save(mask_of(root, 5), "BMP")
    return {"frame004", "frame005"}


def pages(root):
    for path in (image_of(root, 4), mask_of(root, 6)):
        picture = Image.open(path)
        picture.load()
        path.unlink()
        picture.save(path.with_suffix(".tif"), save_all=True, append_images=[picture])
    return {"frame004", "frame006"}


PLANTS = {
    "MS001": unreadable,
    "MS002": unpaired,
    "MS003": size_mismatch,
    "MS004": rotated,
    "MS005": values,
    "MS006": ringing,
    "MS007": dithered,
    "MS008": inverted,
    "MS009": empty,
    "MS010": full,
    "MS011": specks,
    "MS012": dark,
    "MS013": duplicate,
    "MS014": leak,
    "MS015": aspect,
    "MS016": channels,
    "MS017": mislabelled,
    "MS018": pages,
}

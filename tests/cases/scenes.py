"""Small images with one ellipse and their masks, stored as each case needs them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

Coding = Callable[[np.ndarray, int], np.ndarray]


def scene(seed: int, height: int = 72, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 [height, width, 3] and a mask of 0 and 1, uint8 [height, width]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 140, (height // 8, width // 8, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    centre = int(rng.integers(24, width - 24)), int(rng.integers(24, height - 24))
    axes = int(rng.integers(9, 15)), int(rng.integers(9, 15))
    mask = cv2.ellipse(np.zeros((height, width), np.uint8), centre, axes, 0, 0, 360, 1, -1)
    lesion = image[mask > 0].astype(int) + np.array((70, -20, -40))
    image[mask > 0] = np.clip(lesion, 0, 255)
    return image, mask


def write(path: Path | str, array: np.ndarray) -> None:
    """An image file of any kind that OpenCV encodes; colours are RGB."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = array.ndim == 3 and array.shape[2] == 3
    array = np.ascontiguousarray(array[..., ::-1] if colour else array)
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


def pairs(
    root: Path,
    count: int = 12,
    coding: Coding = lambda mask, index: mask * 255,
    *,
    names: Sequence[str] | None = None,
    start: int = 0,
) -> Path:
    """root/images/*.png and root/masks/*.png; `coding` turns a 0/1 mask into what is stored."""
    for index in range(count):
        image, mask = scene(start + index)
        name = names[index] if names else f"s{index:02d}"
        write(Path(root) / "images" / f"{name}.png", image)
        write(Path(root) / "masks" / f"{name}.png", coding(mask, index))
    return Path(root)

"""The teachers' logits of the training images, computed once and kept on disk: `--kd-cache`.

The logits of a batch then go through the warp of its images. That is an approximation: the teacher
has seen the image before it was rotated, zoomed and coloured. On the other hand it has seen the
image from its file, at its own size and by its own way of resizing, and not the student's copy of
it resized.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.data.cache import content, default_folder
from medseg.data.decode import read_image
from medseg.data.sample import Item
from medseg.distill.features import at_size
from medseg.distill.teacher import Teacher, mean_logits
from medseg.errors import UserError
from medseg.files import lock, mark_used, write_atomic
from medseg.preprocessing import Preprocessing

VERSION = 2  # raise when the stored logits change for the same settings
LARGEST = 60000.0  # float16 ends at 65504
BATCH = 8
Size = tuple[int, int]


def open_cache(
    teachers: Sequence[Teacher],
    items: Sequence[Item],
    student: Preprocessing,
    *,
    classes: int,
    device: torch.device,
    folder: Path | None = None,
    workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The teachers' logits of the `items` at the student's input: float16 [N, K, H, W].

    Memory-mapped, and computed on the first call for these weights, images and preprocessing.
    Several processes may call at once: one computes, the others wait. Raises `UserError` for a
    folder that is full or not writable.
    """
    folder = folder or default_folder()
    depends_on = [
        VERSION,
        [[teacher.digest, teacher.precision, device.type] for teacher in teachers],
        student.size,
        student.resize,
        classes,
        content(items, workers),
    ]
    key = hashlib.blake2b(json.dumps(depends_on).encode(), digest_size=16).hexdigest()
    path, shape = folder / f"{key}.teacher.f16", (len(items), classes, *student.size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # what is there needs no lock, and may be another user's
            with lock(folder / f"{key}.lock", "", wait=True):
                if not path.exists():
                    batches = _logits(teachers, items, student, device, workers, progress)
                    write_atomic(path, lambda file: file.writelines(each.data for each in batches))
        mark_used(path)
    except OSError as error:
        raise UserError(
            f"cache folder {folder}: {error.strerror} while storing the teacher's logits of"
            f" {len(items)} images; make room there or give another with --cache-dir"
        ) from None
    return np.memmap(path, np.float16, "r", shape=shape)


def _logits(
    teachers: Sequence[Teacher],
    items: Sequence[Item],
    student: Preprocessing,
    device: torch.device,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[np.ndarray]:
    """float16 [B, K, H, W] for a few items at a time, in their order."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), BATCH):
            some = items[start : start + BATCH]
            by_teacher = []
            for teacher in teachers:
                read = functools.partial(_read, preprocessing=teacher.preprocessing)
                images = list(pool.map(read, some))
                by_teacher.append(_run_teacher(teacher, images, student, device))
            logits = torch.cat([mean_logits(each) for each in zip(*by_teacher, strict=True)])
            yield np.ascontiguousarray(logits.clamp(-LARGEST, LARGEST).half().cpu().numpy())
            if progress:
                progress(start + len(some), len(items))


def _read(item: Item, preprocessing: Preprocessing) -> tuple[np.ndarray, Size]:
    """The image as the teacher takes it, and its size in the file."""
    image = read_image(
        item.image, channels=preprocessing.channels, bit_depth=preprocessing.bit_depth
    ).pixels
    return preprocessing.fit(image), image.shape[:2]


def _run_teacher(
    teacher: Teacher,
    images: Sequence[tuple[np.ndarray, Size]],
    student: Preprocessing,
    device: torch.device,
) -> list[Tensor]:
    """The logits [1, K, H, W] of each image, computed for images of one size together."""
    found: dict[int, Tensor] = {}
    for shape in {image.shape for image, _ in images}:
        index = [i for i, (image, _) in enumerate(images) if image.shape == shape]
        batch = torch.from_numpy(np.stack([images[i][0] for i in index])).to(device)
        logits, _ = teacher.answer(teacher.preprocessing.normalise(batch))
        for n, i in enumerate(index):
            found[i] = moved(logits[n : n + 1], images[i][1], teacher.preprocessing, student)
    return [found[i] for i in range(len(images))]


def moved(logits: Tensor, native: Size, teacher: Preprocessing, student: Preprocessing) -> Tensor:
    """Logits [1, K, h, w] of the teacher's input as logits [1, K, H, W] of the student's.

    `native` is the size of the image in its file. Where the student's input is padded, the border
    is repeated.
    """
    top, left, height, width = teacher.box(native)
    logits = logits[..., top : top + height, left : left + width]
    top, left, height, width = student.box(native)
    bottom, right = student.size[0] - top - height, student.size[1] - left - width
    return F.pad(at_size(logits, (height, width)), (left, right, top, bottom), mode="replicate")

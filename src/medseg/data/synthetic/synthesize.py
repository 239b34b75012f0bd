"""The built-in data set: colonoscopy-like scenes with polyps, made from a seed, so that nothing has
to be downloaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np

from medseg.data.synthetic.scenes import scene
from medseg.errors import UserError
from medseg.files import new_folder, write_csv, write_text

__all__ = ["FRAMES", "VERSION", "scene", "synthesize"]

VERSION = 1  # to be raised whenever the same arguments give other pictures
FRAMES = 4  # in a sequence
SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
JPEG_QUALITY = 92


def synthesize(
    out: Path,
    *,
    images: int = 160,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Write `out`/{train,validation,test}/{images,masks}, `groups.csv` (name, sequence) and
    `dataset.json`, which is returned.

    Images are JPEG, `size` pixels high; masks are PNG of 0 and 255 with the same stem. A sequence
    of near-duplicate frames stays within one part; a picture depends on seed, sequence, frame and
    size only, whatever the count of images or workers (default: one a CPU). `progress` is called
    with (done, total). Raises `UserError` for fewer than 9 images, a size below 64, a negative
    seed, and an `out` that holds something already.
    """
    out = Path(out)
    if images < 9:
        raise UserError(
            f"--images {images}: every part needs sequences of its own; give at least 9"
        )
    if size < 64:
        raise UserError(f"--size {size}: polyps would be a few pixels wide; give at least 64")
    if seed < 0:
        raise UserError(f"--seed {seed}: must not be negative; give 0 or more")
    new_folder(out, "data set folder", "choose a new folder, or remove this one first")
    plan = parts_of(images)
    for part in plan:
        for kind in ("images", "masks"):
            (out / part / kind).mkdir(parents=True)
    jobs = [
        (part, sequence, frames)
        for part, sequences in plan.items()
        for sequence, frames in sequences
    ]
    rows, done = [], 0
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        running = [
            pool.submit(write_sequence, out / part, seed, sequence, frames, size)
            for part, sequence, frames in jobs
        ]
        for finished in as_completed(running):
            done += len(finished.result())
            if progress:
                progress(done, images)
        rows = [row for finished in running for row in finished.result()]
    write_csv(out / "groups.csv", [{"name": row["name"], "group": row["group"]} for row in rows])
    facts = {
        "name": "synthetic",
        "generator_version": VERSION,
        "seed": seed,
        "size": size,
        "images": images,
        "frames_per_sequence": max(frames for _, _, frames in jobs),
        "parts": {part: sum(count for _, count in plan[part]) for part in plan},
        "share_of_empty_frames": round(float(np.mean([row["share"] == 0 for row in rows])), 4),
        "mean_polyp_share": round(float(np.mean([row["share"] for row in rows])), 4),
    }
    write_text(out / "dataset.json", json.dumps(facts, indent=2) + "\n")
    return facts


def parts_of(images: int) -> dict[str, list[tuple[int, int]]]:
    """The (sequence, frames) of each part: `images` frames in all, every part with a sequence at
    least.

    Which part a sequence is in may change with `images`; what it shows may not.
    """
    frames = min(FRAMES, images // 3)
    counts = [frames] * (images // frames) + [images % frames] * (images % frames > 0)
    total = len(counts)
    held_out = {part: max(1, round(total * SHARES[part])) for part in ("validation", "test")}
    ends = {
        "train": total - sum(held_out.values()),
        "validation": total - held_out["test"],
        "test": total,
    }
    plan, start = {}, 0
    for part, end in ends.items():
        plan[part] = list(enumerate(counts))[start:end]
        start = end
    return plan


def write_sequence(folder: Path, seed: int, sequence: int, frames: int, size: int) -> list[dict]:
    """Draw and save the frames of one sequence; a row of name, group and polyp share for each."""
    rows = []
    for frame in range(frames):
        image, mask = scene(seed, sequence, frame, size)
        name = f"seq{sequence:03d}_frame{frame:02d}"
        save(
            folder / "images" / f"{name}.jpg",
            image[..., ::-1],
            [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
        )
        save(folder / "masks" / f"{name}.png", mask * np.uint8(255), [])
        rows.append({"name": name, "group": f"seq{sequence:03d}", "share": float(mask.mean())})
    return rows


def save(path: Path, image: np.ndarray, options: list[int]) -> None:
    try:
        coded = cv2.imencode(path.suffix, image, options)[1]
        path.write_bytes(coded.tobytes())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room or choose another folder"
        ) from None

"""The built-in data set: colonoscopy-like scenes with polyps, made from a seed.

With it nothing has to be downloaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from medseg import console
from medseg.config import SynthesizeConfig
from medseg.data.sources.groups import TABLE, write_groups
from medseg.data.synthetic.scenes import scene
from medseg.errors import UserError
from medseg.files import new_folder, write_text

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
    """Write a data set to `out` and return the facts in its `dataset.json`.

    Files are `out`/{train,validation,test}/{images,masks}, `groups.csv` (name, sequence) and
    `dataset.json`. Images are JPEG, `size` pixels high; masks are PNG of 0 and 255 with the same
    stem. A sequence of near-duplicate frames stays within one part; a picture depends on seed,
    sequence, frame and size only, whatever the count of images or workers (default: one per CPU).
    `progress` is called with (done, total). Raises `UserError` for fewer than 9 images, a size
    below 64, a negative seed, and an `out` that holds something already.
    """
    out = Path(out)
    _check_options(images, size, seed)
    new_folder(out, "data set folder", "choose a new folder, or remove this one first")
    plan = parts_of(images)
    for part in plan:
        for kind in ("images", "masks"):
            (out / part / kind).mkdir(parents=True)
    running: list[Future[list[dict]]] = []
    done = 0
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for part, sequences in plan.items():
            for sequence, frames in sequences:
                job = pool.submit(write_sequence, out / part, seed, sequence, frames, size)
                running.append(job)
        for finished in as_completed(running):
            done += len(finished.result())
            if progress:
                progress(done, images)
    rows = list(chain.from_iterable(job.result() for job in running))
    write_groups(out / TABLE, ((row["name"], row["group"]) for row in rows))
    shares = [row["share"] for row in rows]
    facts = {
        "name": "synthetic",
        "generator_version": VERSION,
        "seed": seed,
        "size": size,
        "images": images,
        "frames_per_sequence": frames_per_sequence(images),
        "parts": {part: sum(frames for _, frames in sequences) for part, sequences in plan.items()},
        "share_of_empty_frames": round(float(np.mean([share == 0 for share in shares])), 4),
        "mean_polyp_share": round(float(np.mean(shares)), 4),
    }
    write_text(out / "dataset.json", json.dumps(facts, indent=2) + "\n")
    return facts


def _check_options(images: int, size: int, seed: int) -> None:
    if images < 9:
        raise UserError(
            f"--images {images}: every part needs sequences of its own; give at least 9"
        )
    if size < 64:
        raise UserError(f"--size {size}: polyps would be a few pixels wide; give at least 64")
    if seed < 0:
        raise UserError(f"--seed {seed}: must not be negative; give 0 or more")


def parts_of(images: int) -> dict[str, list[tuple[int, int]]]:
    """The (sequence, frames) of each part: `images` frames in all, at least one sequence per part.

    Which part a sequence is in may change with `images`; what it shows may not.
    """
    frames = frames_per_sequence(images)
    counts = [frames] * (images // frames)
    if images % frames > 0:
        counts.append(images % frames)
    total = len(counts)
    held_out = {part: max(1, round(total * SHARES[part])) for part in ("validation", "test")}
    ends = {
        "train": total - sum(held_out.values()),
        "validation": total - held_out["test"],
        "test": total,
    }
    plan: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for part, end in ends.items():
        plan[part] = list(enumerate(counts))[start:end]
        start = end
    return plan


def frames_per_sequence(images: int) -> int:
    """Frames of a sequence, few enough for three sequences; the last one may have fewer."""
    return min(FRAMES, images // 3)


def write_sequence(folder: Path, seed: int, sequence: int, frames: int, size: int) -> list[dict]:
    """Draw and save the frames of one sequence; a row of name, group and polyp share for each."""
    rows = []
    for frame in range(frames):
        image, mask = scene(seed, sequence, frame, size)
        name = f"seq{sequence:03d}_frame{frame:02d}"
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        save(folder / "images" / f"{name}.jpg", image[..., ::-1], quality)
        save(folder / "masks" / f"{name}.png", mask * np.uint8(255), [])
        rows.append({"name": name, "group": f"seq{sequence:03d}", "share": float(mask.mean())})
    return rows


def save(path: Path, image: np.ndarray, options: list[int]) -> None:
    """Write an image in BGR or grey, with OpenCV's options of the format."""
    try:
        _, coded = cv2.imencode(path.suffix, image, options)
        path.write_bytes(coded.tobytes())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room or choose another folder"
        ) from None


def run_synthesize(config: SynthesizeConfig) -> Path:
    """`medseg data synthesize`; returns the folder."""
    with console.progress("synthesize", show=config.progress) as advance:
        synthesize(
            config.out, images=config.images, size=config.size, seed=config.seed, progress=advance
        )
    return config.out

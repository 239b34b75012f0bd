"""Latency of an exported file, or of a run: one decoded frame after another to its mask."""

from __future__ import annotations

import time

import cv2
import numpy as np
import torch

from medseg.bench.turns import Reading, Work
from medseg.data.synthetic.scenes import scene
from medseg.inference.predictor import Predictor

CALLS = 20  # a turn
FRAMES = 4  # different ones


def of_file(path: str, frame: tuple[int, int], threads: int, precision: str) -> Work:
    """Frames of `frame` height and width in memory to masks of that size, on the CPU."""
    torch.set_num_threads(threads)
    predictor = Predictor.load(path, accelerator="cpu", precision=precision)
    channels = predictor.preprocessing.channels
    images = [_frame(i, frame)[..., :channels].copy() for i in range(FRAMES)]

    def step() -> Reading:
        calls = []
        for i in range(CALLS):
            started = time.perf_counter()
            predictor(images[i % len(images)])
            calls.append(time.perf_counter() - started)
        return Reading(CALLS, sum(calls), calls=calls)

    return step


def _frame(index: int, size: tuple[int, int]) -> np.ndarray:
    """A generated scene stretched to the size, uint8 [H, W, 3]."""
    image = scene(0, index, 0, max(64, min(size)))[0]
    return cv2.resize(image, size[::-1])

"""The synthetic colonoscopy frames: a rendered tunnel with polyps, the light beside the lens."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from medseg.data.synthetic.anatomy import Sequence, draw_sequence, place
from medseg.data.synthetic.endoscope import develop, draw_video
from medseg.data.synthetic.mucosa import TURN, generator
from medseg.data.synthetic.shading import shade
from medseg.data.synthetic.surface import crop_of, field, find_surface, rays, trace

EMPTY_EVERY = 8  # every eighth sequence shows no polyp
TWO_POLYPS, AWAY_FRAMES = 0.14, 0.04  # chances of a sequence, and of a frame


def scene(seed: int, sequence: int, frame: int, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """uint8 RGB [size, W, 3] and uint8 mask [size, W] in {0, 1}.

    A pure function. W is 1.0 or 1.2 times `size`. Frames of one sequence share the mucosa, the
    polyps and the place; camera, light and blur move on as in a video.
    """
    world = sequence_of(seed, sequence)
    height, width = size, round(size * world.aspect)
    rng = generator(seed, sequence, frame, 1)
    eye, axes = pose(world, generator(seed, sequence, 2), rng, frame)
    directions = rays(axes, height, width)
    crop = crop_of(world, eye, directions)
    t = find_surface(world, eye, axes, directions, crop)
    hits = eye.astype(np.float32)[:, None, None] + t * directions
    _, angle, lead = field(world, hits, crop)
    light = shade(world, hits, t, directions, angle, lead, crop)
    image, seen = develop(light, draw_video(generator(seed, sequence, 3)), rng, frame)
    mask = np.zeros((height, width), np.uint8)
    if crop:
        mask[crop] = lead < 0
        side = 2 * round(size / 170) + 1  # slivers that just show over a fold are not worth a label
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)
    return image, mask * seen


@lru_cache(maxsize=8)
def sequence_of(seed: int, sequence: int) -> Sequence:
    """The world of a sequence, its camera placed.

    The polyps cover about the share of the picture that is drawn for them.
    """
    rng = generator(seed, sequence)
    drawn = draw_sequence(rng)
    offset = int(generator(seed).integers(EMPTY_EVERY))
    empty = (sequence + offset) % EMPTY_EVERY == 0
    second = rng.random() < TWO_POLYPS
    share = 0.011 * 30 ** (rng.random() ** 0.8)
    best: Sequence | None = None
    error = np.inf
    attempt = 0
    while best is None or (error > 0.35 and attempt < 8):
        tried = place(drawn, generator(seed, sequence, attempt, 4), share, second)
        attempt += 1
        if tried is None:
            continue
        _, polyp = trace(tried, tried.eye, tried.axes, 32, round(32 * tried.aspect))
        miss = abs(np.log(max(polyp.mean(), 1e-4) / share))
        if miss < error:
            best, error = tried, miss
    return replace(best, polyps=()) if empty else best


def pose(
    world: Sequence, shared: np.random.Generator, own: np.random.Generator, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Eye [3] and axes [3, 3] at a frame: a slow sway, and now and then a look away.

    `shared` is the generator of the sequence, `own` that of the frame.
    """
    phase = shared.uniform(0, TURN, 6)
    speed = shared.uniform(0.25, 0.7, 6)
    sway = np.sin(phase + speed * frame) - np.sin(phase)
    turn = sway[3:] * np.array([0.06, 0.06, 0.08])
    if own.random() < AWAY_FRAMES and frame:
        turn = turn + own.choice([-1, 1], 3) * np.array([1.2, 1.2, 0.0])
    eye = world.eye + sway[:3] * 0.05 * world.distance
    return eye, cv2.Rodrigues(turn)[0] @ world.axes

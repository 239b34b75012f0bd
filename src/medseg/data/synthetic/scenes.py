"""The renderer of synthetic colonoscopy frames: a marched distance field with the light beside the
lens.

Hart 1996 (doi 10.1007/s003710050084) describes the marching. Images are channel-first and linear
until `develop`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from medseg.data.synthetic.anatomy import (
    ANGLES,
    HALF_VIEW,
    STEPS,
    TILE,
    TILES,
    TURN,
    Z_END,
    Z_START,
    Polyp,
    Sequence,
    draw_sequence,
    generator,
    place,
)
from medseg.data.synthetic.endoscope import develop, draw_video

FAR = 8.0
# share of the room to the wall that a step may take: the relief is steep, so the room is no true
# distance
CAUTION = 0.62
EMPTY_EVERY = 8  # every eighth sequence shows no polyp
TWO_POLYPS, AWAY_FRAMES = 0.14, 0.04  # chances of a sequence, and of a frame
Crop = tuple[slice, slice]


def scene(seed: int, sequence: int, frame: int, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """uint8 RGB [size, W, 3] and uint8 mask [size, W] in {0, 1}, W being 1.0 or 1.2 times `size`; a
    pure function.

    Frames of one sequence share the mucosa, the polyps and the place; camera, light and blur move
    on as in a video.
    """
    world = sequence_of(seed, sequence)
    height, width = size, round(size * world.aspect)
    rng = generator(seed, sequence, frame, 1)
    eye, axes = pose(world, generator(seed, sequence, 2), rng, frame)
    directions = rays(axes, height, width)
    crop = crop_of(world, eye, directions)
    t = find_surface(world, eye, axes, directions, crop)
    p = eye.astype(np.float32)[:, None, None] + t * directions
    _, angle, lead = field(world, p, crop)
    light = shade(world, p, t, directions, angle, lead, crop)
    image, seen = develop(light, draw_video(generator(seed, sequence, 3)), rng, frame)
    mask = np.zeros((height, width), np.uint8)
    if crop:
        mask[crop] = lead < 0
        side = 2 * round(size / 170) + 1  # slivers that just show over a fold are not worth a label
        mask = cv2.morphologyEx(
            mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        )
    return image, mask * seen


@lru_cache(maxsize=8)
def sequence_of(seed: int, sequence: int) -> Sequence:
    """The world of a sequence, its camera placed so that the polyps cover about the share drawn for
    them.
    """
    rng = generator(seed, sequence)
    drawn = draw_sequence(rng)
    empty = (sequence + int(generator(seed).integers(EMPTY_EVERY))) % EMPTY_EVERY == 0
    second, share = rng.random() < TWO_POLYPS, 0.011 * 30 ** (rng.random() ** 0.8)
    best, error, attempt = None, np.inf, 0
    while best is None or (error > 0.35 and attempt < 8):
        tried = place(drawn, generator(seed, sequence, attempt, 4), share, second)
        attempt += 1
        if tried is None:
            continue
        polyp = trace(tried, tried.eye, tried.axes, 32, round(32 * tried.aspect))[1]
        miss = abs(np.log(max(polyp.mean(), 1e-4) / share))
        if miss < error:
            best, error = tried, miss
    return replace(best, polyps=()) if empty else best


def pose(
    world: Sequence, shared: np.random.Generator, own: np.random.Generator, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Eye and axes at a frame: a slow sway, and now and then a look away."""
    phase, speed = shared.uniform(0, TURN, 6), shared.uniform(0.25, 0.7, 6)
    sway = np.sin(phase + speed * frame) - np.sin(phase)
    turn = sway[3:] * np.array([0.06, 0.06, 0.08])
    if own.random() < AWAY_FRAMES and frame:
        turn = turn + own.choice([-1, 1], 3) * np.array([1.2, 1.2, 0.0])
    return world.eye + sway[:3] * 0.05 * world.distance, cv2.Rodrigues(turn)[0] @ world.axes


def rays(axes: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [3, height, width]: unit directions of an equidistant fisheye."""
    scale = np.float32(2 * HALF_VIEW / height)
    y = ((np.arange(height, dtype=np.float32) - (height - 1) / 2) * scale)[:, None]
    x = ((np.arange(width, dtype=np.float32) - (width - 1) / 2) * scale)[None]
    off = np.sqrt(x * x + y * y) + np.float32(1e-6)
    sine = np.sin(off) / off
    return np.tensordot(axes.T.astype(np.float32), np.stack([x * sine, y * sine, np.cos(off)]), 1)


def trace(
    world: Sequence, eye: np.ndarray, axes: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distance [height, width] to what each ray meets, and whether that is a polyp."""
    directions = rays(axes, height, width)
    crop = crop_of(world, eye, directions)
    t = march(world, eye, directions, np.zeros((height, width), np.float32), crop, 34)
    polyp = np.zeros((height, width), bool)
    if crop:
        polyp[crop] = (
            field(world, eye.astype(np.float32)[:, None, None] + t * directions, crop)[2] < 0
        )
    return t, polyp


def find_surface(
    world: Sequence, eye: np.ndarray, axes: np.ndarray, directions: np.ndarray, crop: Crop | None
) -> np.ndarray:
    """Distance [H, W] to what each ray meets: marched for every ninth ray, then a little for all,
    then on for stragglers.
    """
    _, height, width = directions.shape
    coarse, _ = trace(world, eye, axes, -(-height // 3), -(-width // 3))
    near = cv2.erode(coarse, np.ones((3, 3), np.uint8)) * np.float32(0.985)
    first = cv2.resize(near, (width, height))
    second = march(world, eye, directions, first, crop, 1)
    third = march(world, eye, directions, second, crop, 1)
    last = third - second
    ratio = last / np.maximum(second - first, np.float32(1e-6))
    ratio[(ratio < 0) | (ratio > 0.85)] = 0
    third += (
        last * ratio / (1 - ratio)
    )  # towards a flat wall steps shrink by a constant ratio: take the rest at once
    t = march(world, eye, directions, third, crop, 1)
    late = np.flatnonzero(np.abs(t - third) > t * np.float32(1.5 * HALF_VIEW / height))
    if len(late):
        late = np.resize(late, (-(-len(late) // 512), 512))
        everywhere = (slice(None), slice(None)) if crop else None
        t.flat[late] = march(
            world, eye, directions.reshape(3, -1)[:, late], t.flat[late], everywhere, 10
        )
    return t


def march(
    world: Sequence,
    eye: np.ndarray,
    directions: np.ndarray,
    t: np.ndarray,
    crop: Crop | None,
    steps: int,
) -> np.ndarray:
    start = eye.astype(np.float32)[:, None, None]
    for _ in range(steps):
        t = np.minimum(t + field(world, start + t * directions, crop)[0], np.float32(FAR))
    return t


def field(
    world: Sequence, p: np.ndarray, crop: Crop | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """At points [3, H, W]: a safe step to the nearest surface, the angle about the axis, and inside
    `crop` the distance to the polyps less the step to the wall, which is negative on a polyp.
    """
    zz = p[2] * p[2]
    r, angle = cv2.cartToPolar(
        p[0] - np.float32(world.bend[0]) * zz, p[1] - np.float32(world.bend[1]) * zz
    )
    column = angle * np.float32(ANGLES / TURN) + np.float32(2)
    row = (p[2] - np.float32(Z_START)) * np.float32((STEPS - 1) / (Z_END - Z_START))
    room = (
        cv2.remap(world.relief, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - r
    )
    room *= np.float32(CAUTION)
    if crop is None:
        return room, angle, None
    union = wall = room[crop]
    lead = np.full(wall.shape, np.inf, np.float32)
    for polyp in world.polyps:
        distance = polyp_distance(polyp, p[:, *crop])
        lead = np.minimum(lead, distance)
        union = smooth_min(union, distance, polyp.blend)
    lead -= wall
    room[crop] = union
    return room, angle, lead


def polyp_distance(polyp: Polyp, p: np.ndarray) -> np.ndarray:
    """Distance of points [3, H, W] to the smooth union of a polyp's ellipsoids, to first order."""
    scaled = polyp.to_lobes @ p.reshape(3, -1) + polyp.shift[:, None]
    norms = cv2.sqrt(polyp.gather @ (scaled * scaled))
    lobes = len(norms) // 2
    distances = ((norms[:lobes] - 1) * norms[:lobes] / (norms[lobes:] + np.float32(1e-6))).reshape(
        -1, *p.shape[1:]
    )
    nearest = distances[0]
    for distance in distances[1:]:
        nearest = smooth_min(nearest, distance, polyp.crease)
    return nearest


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The smaller of two distances, rounded off where they differ by less than `k`."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0)
    return np.minimum(a, b) - h * h * np.float32(0.25 / k)


def crop_of(world: Sequence, eye: np.ndarray, directions: np.ndarray) -> Crop | None:
    """The rows and columns whose rays may meet a polyp."""
    hit = np.zeros(directions.shape[1:], bool)
    for polyp in world.polyps:
        way = polyp.middle - eye
        distance = float(np.linalg.norm(way))
        if distance <= polyp.reach:
            hit[:] = True
            continue
        limit = np.cos(min(np.pi, np.arcsin(polyp.reach / distance) + 0.06))
        hit |= np.tensordot((way / distance).astype(np.float32), directions, 1) > limit
    rows, cols = np.flatnonzero(hit.any(1)), np.flatnonzero(hit.any(0))
    return (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)) if len(rows) else None


def shade(
    world: Sequence,
    p: np.ndarray,
    t: np.ndarray,
    directions: np.ndarray,
    angle: np.ndarray,
    lead: np.ndarray | None,
    crop: Crop | None,
) -> np.ndarray:
    """float32 [3, H, W] linear light: diffuse with the square law and occlusion, plus clipped wet
    highlights.
    """
    scale = np.float32(TILES * TILE / TURN)
    tile = cv2.remap(
        world.tile, angle * scale, p[2] * scale, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    albedo, bumps = paint(world, p, cv2.split(tile), lead, crop)
    across, down = slope(p, t, 2), slope(p, t, 1)
    normal = np.stack([cv2.blur(n, (3, 3)) for n in unit(np.cross(down, across, axis=0))])
    flat = (
        np.abs(cv2.Laplacian(t, cv2.CV_32F)) < np.float32(0.06) * t
    )  # bumps do not reach across an edge
    tilt = across * (
        cv2.Sobel(bumps, cv2.CV_32F, 1, 0, scale=0.125)
        * flat
        / (dot(across, across) + np.float32(1e-6))
    )
    tilt += down * (
        cv2.Sobel(bumps, cv2.CV_32F, 0, 1, scale=0.125)
        * flat
        / (dot(down, down) + np.float32(1e-6))
    )
    diffuse = np.clip(-dot(unit(normal - np.float32(0.35) * tilt), directions), 0, 1)
    mirror = -dot(unit(normal - tilt), directions)
    open_sky = openness(world, p, normal, crop)
    middle = np.exp(np.log(np.maximum(t[::4, ::4], 0.2)).mean())
    fall = np.clip((FAR - t) / 3, 0, 1) / (np.float32(0.2) + (t * np.float32(1 / middle)) ** 2)
    light = albedo * (fall * (0.18 + 0.82 * diffuse) * (0.35 + 0.65 * open_sky))
    light += albedo * albedo * (np.float32(world.ambient) * open_sky)
    spots = np.clip((mirror - 0.9925) * 200, 0, 1) * np.clip(diffuse * 3 - 1, 0, 1)
    spots *= np.clip(fall, 0, 2) * np.float32(world.gloss)
    return light * np.float32(0.72) + (spots + cv2.GaussianBlur(spots, (0, 0), 2.0))


def openness(world: Sequence, p: np.ndarray, normal: np.ndarray, crop: Crop | None) -> np.ndarray:
    """float32 [H, W] in 0..1: how much room there is before the surface, small in the crease about
    a polyp or a fold.
    """
    reach = np.float32(0.16)
    half = crop and tuple(slice(side.start // 2, -(-side.stop // 2)) for side in crop)
    room = field(world, (p + normal * reach)[:, ::2, ::2], half)[0]
    return cv2.resize(np.clip(room / (reach * np.float32(CAUTION)), 0, 1), p.shape[:0:-1])


def slope(p: np.ndarray, t: np.ndarray, axis: int) -> np.ndarray:
    """Change [3, H, W] of the points from pixel to pixel, taken on the side that does not leap over
    an edge.
    """

    def sides(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        step = np.diff(values, axis=axis)
        return (
            np.concatenate([np.take(step, [0], axis), step], axis),
            np.concatenate([step, np.take(step, [-1], axis)], axis),
        )

    before, after = sides(p, axis)
    leap_before, leap_after = sides(t, axis - 1)
    return np.where(np.abs(leap_before) > np.abs(leap_after), after, before)


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(v: np.ndarray) -> np.ndarray:
    return v / (cv2.sqrt(dot(v, v)) + np.float32(1e-9))


def paint(
    world: Sequence,
    p: np.ndarray,
    tile: list[np.ndarray],
    lead: np.ndarray | None,
    crop: Crop | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Linear colour [3, H, W] of what is seen, and its bumps [H, W] as heights."""
    vessels, mottle, bumps, residue = tile
    tone = (
        np.exp(mottle * np.array([0.05, 0.16, 0.16], np.float32)[:, None, None])
        * world.albedo[:, None, None]
    )
    if crop:
        on = np.clip(0.5 - lead * 50, 0, 1)
        closest = np.full(lead.shape, np.inf, np.float32)
        tint = np.ones((3, *lead.shape), np.float32)
        grain, run = np.zeros(lead.shape, np.float32), np.ones(lead.shape, np.float32)
        for polyp in world.polyps:
            q = np.tensordot(
                polyp.frame, p[:, *crop] - polyp.middle.astype(np.float32)[:, None, None], 1
            )
            r = cv2.sqrt(dot(q, q)) + np.float32(1e-6)
            near = r / polyp.reach < closest
            closest = np.minimum(closest, r / polyp.reach)
            size, strength, contrast = polyp.pits
            zoom = np.float32(size * 128) / (
                q[2] + np.float32(1.25) * r
            )  # stereographic, the pole out of sight below
            pits = cv2.remap(
                world.grain, q[0] * zoom, q[1] * zoom, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
            pits = np.tanh(pits * np.float32(contrast))
            tint[:, near] = polyp.tint[:, None] * (
                1 + np.array([[0.4], [1], [1]], np.float32) * (pits[near] * strength)
            )
            grain[near] = polyp.reach * polyp.rough * pits[near]
            run[near] = polyp.vessels
        tone[:, *crop] *= 1 + on * (tint - 1)
        vessels[crop] *= 1 + on * (run - 1)
        bumps[crop] = bumps[crop] * (1 - 0.5 * on) + on * grain
        residue[crop] *= 1 - 0.6 * on
    tone *= 1 - np.minimum(vessels, 1) * np.array([0.2, 0.5, 0.42], np.float32)[:, None, None]
    tone += residue * (world.residue[:, None, None] - tone)
    return tone, bumps

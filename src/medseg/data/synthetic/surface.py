"""The surface that the rays of a synthetic scene meet: a marched distance field.

Hart 1996 (doi 10.1007/s003710050084) describes the marching. Arrays of points and directions are
float32 [3, H, W]; lengths are in tunnel radii.
"""

from __future__ import annotations

import cv2
import numpy as np

from medseg.data.synthetic.anatomy import HALF_VIEW, Polyp, Sequence
from medseg.data.synthetic.mucosa import ANGLES, STEPS, TURN, Z_END, Z_START

FAR = 8.0
# share of the room to the wall that a step may take: the relief is steep, so the room is no true
# distance
CAUTION = 0.62
Crop = tuple[slice, slice]


def rays(axes: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [3, height, width]: unit directions of an equidistant fisheye."""
    scale = np.float32(2 * HALF_VIEW / height)
    y = ((np.arange(height, dtype=np.float32) - (height - 1) / 2) * scale)[:, None]
    x = ((np.arange(width, dtype=np.float32) - (width - 1) / 2) * scale)[None]
    off = np.sqrt(x * x + y * y) + np.float32(1e-6)
    sine = np.sin(off) / off
    in_camera = np.stack([x * sine, y * sine, np.cos(off)])
    return np.tensordot(axes.T.astype(np.float32), in_camera, 1)


def trace(
    world: Sequence, eye: np.ndarray, axes: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distance [height, width] to what each ray meets, and whether that is a polyp."""
    directions = rays(axes, height, width)
    crop = crop_of(world, eye, directions)
    t = march(world, eye, directions, np.zeros((height, width), np.float32), crop, 34)
    polyp = np.zeros((height, width), bool)
    if crop:
        hits = eye.astype(np.float32)[:, None, None] + t * directions
        _, _, lead = field(world, hits, crop)
        polyp[crop] = lead < 0
    return t, polyp


def find_surface(
    world: Sequence, eye: np.ndarray, axes: np.ndarray, directions: np.ndarray, crop: Crop | None
) -> np.ndarray:
    """Distance [H, W] to what each ray meets.

    Marched for every ninth ray, then a little for all, then on for stragglers.
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
    # towards a flat wall steps shrink by a constant ratio: take the rest at once
    third += last * ratio / (1 - ratio)
    t = march(world, eye, directions, third, crop, 1)
    late = np.flatnonzero(np.abs(t - third) > t * np.float32(1.5 * HALF_VIEW / height))
    if len(late):
        late = np.resize(late, (-(-len(late) // 512), 512))
        everywhere = (slice(None), slice(None)) if crop else None
        stragglers = directions.reshape(3, -1)[:, late]
        t.flat[late] = march(world, eye, stragglers, t.flat[late], everywhere, 10)
    return t


def march(
    world: Sequence,
    eye: np.ndarray,
    directions: np.ndarray,
    t: np.ndarray,
    crop: Crop | None,
    steps: int,
) -> np.ndarray:
    """Distances [H, W] after so many `steps` more from the distances `t`, at most `FAR`."""
    start = eye.astype(np.float32)[:, None, None]
    for _ in range(steps):
        room, _, _ = field(world, start + t * directions, crop)
        t = np.minimum(t + room, np.float32(FAR))
    return t


def field(
    world: Sequence, p: np.ndarray, crop: Crop | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Where the surface is at points [3, H, W]: room, angle and lead.

    The room [H, W] is a safe step to the nearest surface, the angle [H, W] is about the axis, and
    the lead, inside `crop` only, is the distance to the polyps less the step to the wall: it is
    negative on a polyp.
    """
    zz = p[2] * p[2]
    x = p[0] - np.float32(world.bend[0]) * zz
    y = p[1] - np.float32(world.bend[1]) * zz
    r, angle = cv2.cartToPolar(x, y)
    column = angle * np.float32(ANGLES / TURN) + np.float32(2)
    row = (p[2] - np.float32(Z_START)) * np.float32((STEPS - 1) / (Z_END - Z_START))
    radius = cv2.remap(world.relief, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    room = radius - r
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
    plain, over_axes = norms[:lobes], norms[lobes:]
    distances = (plain - 1) * plain / (over_axes + np.float32(1e-6))
    distances = distances.reshape(-1, *p.shape[1:])
    nearest = distances[0]
    for distance in distances[1:]:
        nearest = smooth_min(nearest, distance, polyp.crease)
    return nearest


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The smaller of two distances, rounded off where they differ by less than `k`."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0)
    return np.minimum(a, b) - h * h * np.float32(0.25 / k)


def crop_of(world: Sequence, eye: np.ndarray, directions: np.ndarray) -> Crop | None:
    """The rows and columns whose rays may meet a polyp, None where no ray may."""
    hit = np.zeros(directions.shape[1:], bool)
    for polyp in world.polyps:
        towards = polyp.middle - eye
        distance = float(np.linalg.norm(towards))
        if distance <= polyp.reach:
            hit[:] = True
            continue
        limit = np.cos(min(np.pi, np.arcsin(polyp.reach / distance) + 0.06))
        cosine = np.tensordot((towards / distance).astype(np.float32), directions, 1)
        hit |= cosine > limit
    rows, columns = np.flatnonzero(hit.any(1)), np.flatnonzero(hit.any(0))
    if len(rows) == 0:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

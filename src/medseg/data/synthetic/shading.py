"""The light that the surface of a synthetic scene sends back: colour, relief and wet highlights."""

from __future__ import annotations

import cv2
import numpy as np

from medseg.data.synthetic.anatomy import Polyp, Sequence
from medseg.data.synthetic.mucosa import TILE, TILES, TURN
from medseg.data.synthetic.surface import CAUTION, FAR, Crop, field


def shade(
    world: Sequence,
    p: np.ndarray,
    t: np.ndarray,
    directions: np.ndarray,
    angle: np.ndarray,
    lead: np.ndarray | None,
    crop: Crop | None,
) -> np.ndarray:
    """float32 [3, H, W] of linear light from the points `p` at distances `t`.

    Diffuse with the square law and occlusion, plus clipped wet highlights. `angle` and `lead` are
    those of `surface.field`.
    """
    scale = np.float32(TILES * TILE / TURN)
    tile = cv2.remap(
        world.tile, angle * scale, p[2] * scale, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    albedo, bumps = paint(world, p, cv2.split(tile), lead, crop)
    across, down = slope(p, t, 2), slope(p, t, 1)
    normal = np.stack([cv2.blur(n, (3, 3)) for n in unit(np.cross(down, across, axis=0))])
    tilt = tilt_of(bumps, t, across, down)
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


def tilt_of(bumps: np.ndarray, t: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """How much bumps [H, W] tilt the normals, [3, H, W]; they do not cross an edge of `t`."""
    flat = np.abs(cv2.Laplacian(t, cv2.CV_32F)) < np.float32(0.06) * t
    rise_across = cv2.Sobel(bumps, cv2.CV_32F, 1, 0, scale=0.125)
    rise_down = cv2.Sobel(bumps, cv2.CV_32F, 0, 1, scale=0.125)
    tilt = across * (rise_across * flat / (dot(across, across) + np.float32(1e-6)))
    tilt += down * (rise_down * flat / (dot(down, down) + np.float32(1e-6)))
    return tilt


def openness(world: Sequence, p: np.ndarray, normal: np.ndarray, crop: Crop | None) -> np.ndarray:
    """float32 [H, W] in 0..1: how much room there is before the surface.

    Small in the crease about a polyp or a fold.
    """
    reach = np.float32(0.16)
    half = crop and tuple(slice(side.start // 2, -(-side.stop // 2)) for side in crop)
    room, _, _ = field(world, (p + normal * reach)[:, ::2, ::2], half)
    return cv2.resize(np.clip(room / (reach * np.float32(CAUTION)), 0, 1), p.shape[:0:-1])


def slope(p: np.ndarray, t: np.ndarray, axis: int) -> np.ndarray:
    """Change [3, H, W] of the points from pixel to pixel along an axis.

    Taken on the side that does not leap over an edge of the distances `t` [H, W].
    """
    before, after = differences(p, axis)
    leap_before, leap_after = differences(t, axis - 1)
    return np.where(np.abs(leap_before) > np.abs(leap_after), after, before)


def differences(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """What each value is above the one before it, and the one after it above it."""
    step = np.diff(values, axis=axis)
    before = np.concatenate([np.take(step, [0], axis), step], axis)
    after = np.concatenate([step, np.take(step, [-1], axis)], axis)
    return before, after


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products [H, W] of vectors [3, H, W]."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors [3, H, W] at length 1."""
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
    mottled = np.exp(mottle * np.array([0.05, 0.16, 0.16], np.float32)[:, None, None])
    tone = mottled * world.albedo[:, None, None]
    if crop:
        on = np.clip(0.5 - lead * 50, 0, 1)
        tint, grain, run = polyp_paint(world, p[:, *crop])
        tone[:, *crop] *= 1 + on * (tint - 1)
        vessels[crop] *= 1 + on * (run - 1)
        bumps[crop] = bumps[crop] * (1 - 0.5 * on) + on * grain
        residue[crop] *= 1 - 0.6 * on
    tone *= 1 - np.minimum(vessels, 1) * np.array([0.2, 0.5, 0.42], np.float32)[:, None, None]
    tone += residue * (world.residue[:, None, None] - tone)
    return tone, bumps


def polyp_paint(world: Sequence, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tint [3, H, W], grain as heights and share of vessels [H, W], each of the nearest polyp."""
    shape = p.shape[1:]
    closest = np.full(shape, np.inf, np.float32)
    tint = np.ones((3, *shape), np.float32)
    grain, run = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for polyp in world.polyps:
        q = np.tensordot(polyp.frame, p - polyp.middle.astype(np.float32)[:, None, None], 1)
        r = cv2.sqrt(dot(q, q)) + np.float32(1e-6)
        near = r / polyp.reach < closest
        closest = np.minimum(closest, r / polyp.reach)
        pits = pit_pattern(world, polyp, q, r)[near]
        strength = polyp.pits[1]
        contrast = 1 + np.array([[0.4], [1], [1]], np.float32) * (pits * strength)
        tint[:, near] = polyp.tint[:, None] * contrast
        grain[near] = polyp.reach * polyp.rough * pits
        run[near] = polyp.vessels
    return tint, grain, run


def pit_pattern(world: Sequence, polyp: Polyp, q: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The surface pattern in -1..1, [H, W], at points `q` [3, H, W] of the polyp's own frame.

    `r` [H, W] are their distances from its middle. The projection is stereographic, its pole out of
    sight below.
    """
    size, _, contrast = polyp.pits
    zoom = np.float32(size * 128) / (q[2] + np.float32(1.25) * r)
    pits = cv2.remap(
        world.grain, q[0] * zoom, q[1] * zoom, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.tanh(pits * np.float32(contrast))

"""The wall of a synthetic colon: the relief of the tunnel and the textures of its mucosa.

Lengths are in tunnel radii. The relief is the radius of the tunnel over angle and z.
"""

from __future__ import annotations

import cv2
import numpy as np

TURN = 2 * np.pi
Z_START, Z_END = -2.0, 9.0
ANGLES, STEPS = 320, 448  # cells of the relief around and along
TILES = 2  # texture tiles around the tunnel
TILE = 384  # side of a tile in pixels, hence 122 pixels per radius


def generator(*key: int) -> np.random.Generator:
    """Random numbers that depend on the key alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def noise(rng: np.random.Generator, rows: int, cols: int, height: int, width: int) -> np.ndarray:
    """float32 [height, width]: normal values on `rows` x `cols` knots, smooth between them.

    Periodic both ways.
    """
    pad = 3
    knots = np.pad(rng.standard_normal((rows, cols), np.float32), pad, mode="wrap")
    y, x = round(height * pad / rows), round(width * pad / cols)
    smooth = cv2.resize(knots, (width + 2 * x, height + 2 * y), interpolation=cv2.INTER_CUBIC)
    return smooth[y : y + height, x : x + width]


def wall_relief(rng: np.random.Generator) -> np.ndarray:
    """The radius of the tunnel: roundish-triangular, bulging haustra between crescent folds."""
    angle = np.arange(ANGLES, dtype=np.float32) * np.float32(TURN / ANGLES)
    z = np.linspace(Z_START, Z_END, STEPS, dtype=np.float32)
    relief = 1 + 0.05 * noise(rng, 9, 5, STEPS, ANGLES) + 0.012 * noise(rng, 36, 20, STEPS, ANGLES)
    twist = rng.uniform(0, TURN)
    relief += 0.06 * np.cos(3 * angle + twist)[None]
    depth = rng.uniform(0.12, 0.42)
    width = rng.uniform(0.07, 0.15)
    at = Z_START + rng.uniform(0, 0.6)
    while at < Z_END:
        centre = rng.uniform(0, TURN)
        crescent = np.exp(rng.uniform(0.6, 2.2) * (np.cos(angle - centre) - 1))
        crescent = crescent * depth * rng.uniform(0.5, 1.15)
        line = at + rng.uniform(0, 0.28) * np.cos(angle - rng.uniform(0, TURN))
        line += 0.05 * np.cos(3 * angle + rng.uniform(0, TURN))
        rows = slice(*np.searchsorted(z, [at - 0.9, at + 0.9]))
        off = (z[rows, None] - line[None]) / (width * rng.uniform(0.7, 1.3))
        relief[rows] -= crescent * np.exp(-(off**2) / (1 + 0.35 * np.abs(off)))
        at += rng.uniform(0.55, 1.25)
    relief = np.maximum(relief, 0.35)
    return np.pad(relief, ((0, 0), (2, 2)), mode="wrap").astype(np.float32)


def vessel_tile(rng: np.random.Generator) -> np.ndarray:
    """float32 [TILE, TILE] in 0..1: branching random walks, thinner at each fork.

    Periodic both ways.
    """
    canvas = np.zeros((2 * TILE, 2 * TILE), np.uint8)
    walks = [
        (rng.uniform(0, TILE, 2), rng.uniform(0, TURN), rng.uniform(0.9, 2.4), 0)
        for _ in range(rng.integers(8, 26))
    ]
    while walks:
        at, heading, thick, forks = walks.pop()
        turns = heading + np.cumsum(rng.normal(0, 0.28, int(rng.integers(8, 24))))
        path = at + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * 4.0, 0)
        points = np.round((path + TILE / 2) * 16).astype(np.int32)
        grey, line = int(75 + 60 * thick), max(1, round(thick))
        cv2.polylines(canvas, [points], False, grey, line, cv2.LINE_AA, 4)
        if forks == 3:
            continue
        for end in (len(path) * 3 // 5, -1):
            onward = turns[end] + rng.choice([-1, 1]) * rng.uniform(0.35, 0.9)
            walks.append((path[end], onward, thick * 0.72, forks + 1))
    tile = wrapped(wrapped(canvas).T).T
    return cv2.GaussianBlur(tile, (0, 0), 0.7).astype(np.float32) / 255


def wrapped(canvas: np.ndarray) -> np.ndarray:
    """[2 N, W] to [N, W]: the half of N rows that overhangs on each side, folded back."""
    first, second, third, last = np.split(canvas, 4)
    return np.concatenate([np.maximum(second, last), np.maximum(third, first)])


def wall_tile(rng: np.random.Generator) -> np.ndarray:
    """float32 [TILE, TILE, 4]: vessels, mottle, bumps (height in radii), residue (coverage)."""
    broad, middle, fine = (noise(rng, cells, cells, TILE, TILE) for cells in (5, 15, 44))
    vessels = vessel_tile(rng) * (rng.uniform(0.3, 1.5) * np.clip(0.8 + 0.7 * broad, 0.0, 1.3))
    mottle = 0.6 * noise(rng, 4, 4, TILE, TILE) + 0.3 * noise(rng, 110, 110, TILE, TILE)
    mottle += 0.35 * middle[::-1] + 0.3 * fine[::-1]
    bumps = 0.009 * middle + rng.uniform(0.0025, 0.006) * fine
    residue = np.zeros((TILE, TILE), np.float32)
    if rng.random() < 0.3:
        mixed = broad[:, ::-1] + 0.5 * middle[:, ::-1] + 0.2 * fine[:, ::-1]
        residue = np.clip((mixed - rng.uniform(1.1, 2.0)) * 1.5, 0, 1)
        bumps += 0.02 * residue
    if rng.random() < 0.5:  # bubbles of foam
        bumps += cv2.GaussianBlur(foam_tile(rng), (0, 0), 1.2)
    return np.dstack([vessels, mottle, bumps, residue]).astype(np.float32)


def foam_tile(rng: np.random.Generator) -> np.ndarray:
    """float32 [TILE, TILE]: heights in radii of one to four heaps of bubbles."""
    foam = np.zeros((TILE, TILE), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        middle = rng.uniform(0, TILE, 2)
        count = int(rng.integers(4, 30))
        for x, y in rng.normal(middle, 14, (count, 2)):
            radius = int(rng.integers(1, 4))
            height = float(rng.uniform(0.01, 0.03))
            cv2.circle(foam, (int(x), int(y)), radius, height, -1, cv2.LINE_AA)
    return foam

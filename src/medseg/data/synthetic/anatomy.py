"""What a synthetic colonoscopy sequence holds: a tunnel with folds, mucosa textures, polyps, a
camera.

Lengths are in tunnel radii. The tunnel runs along +z and bends as a parabola; `relief` is its
radius over angle and z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

TURN = 2 * np.pi
Z_START, Z_END = -2.0, 9.0
ANGLES, STEPS = 320, 448  # cells of the relief around and along
TILES, TILE = (
    2,
    384,
)  # texture tiles around the tunnel and their side in pixels, hence 122 pixels a radius
HALF_VIEW = 0.92  # radians from the optical axis to the upper edge of the picture


@dataclass(frozen=True)
class Polyp:
    """A smooth union of L ellipsoids; `frame` [3, 3] holds two tangents of the wall and its inward
    normal.
    """

    frame: np.ndarray
    to_lobes: (
        np.ndarray
        # float32 [3 L, 3], with `shift` [3 L] from space to the frames in which each lobe is a unit
        # ball
    )
    shift: np.ndarray
    gather: (
        np.ndarray
    )  # float32 [2 L, 3 L]: sums of squares there, plain and over squared semi-axes
    blend: float  # radius of the smooth joint with the wall
    crease: float  # radius of the smooth joints between lobes
    reach: float  # radius of a sphere about the middle of the lobes that holds them
    middle: np.ndarray
    tint: np.ndarray
    pits: tuple[float, float, float]  # texture scale, strength, contrast
    rough: float  # height of the texture in shares of `reach`
    vessels: float  # share of the wall's vessels that run on over it


@dataclass(frozen=True)
class Sequence:
    """All that the frames of one sequence share."""

    relief: np.ndarray  # float32 [STEPS, ANGLES + 4], wrapped by two columns on each side
    bend: np.ndarray  # the axis is at bend * z^2
    tile: np.ndarray  # float32 [TILE, TILE, 4]: vessels, mottle, bumps, residue
    grain: np.ndarray  # float32 [256, 256]: surface pattern of polyps
    albedo: np.ndarray  # RGB, linear
    residue: np.ndarray
    gloss: float
    ambient: float
    polyps: tuple[Polyp, ...]
    eye: np.ndarray
    distance: float  # from the eye to the first polyp
    axes: np.ndarray  # [3, 3] rows right, down, forward
    aspect: float


def generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def noise(rng: np.random.Generator, rows: int, cols: int, height: int, width: int) -> np.ndarray:
    """float32 [height, width]: normal values on `rows` x `cols` knots, smooth between them,
    periodic both ways.
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
    depth, width = rng.uniform(0.12, 0.42), rng.uniform(0.07, 0.15)
    at = Z_START + rng.uniform(0, 0.6)
    while at < Z_END:
        centre = rng.uniform(0, TURN)
        crescent = (
            np.exp(rng.uniform(0.6, 2.2) * (np.cos(angle - centre) - 1))
            * depth
            * rng.uniform(0.5, 1.15)
        )
        line = at + rng.uniform(0, 0.28) * np.cos(angle - rng.uniform(0, TURN))
        line += 0.05 * np.cos(3 * angle + rng.uniform(0, TURN))
        rows = slice(*np.searchsorted(z, [at - 0.9, at + 0.9]))
        off = (z[rows, None] - line[None]) / (width * rng.uniform(0.7, 1.3))
        relief[rows] -= crescent * np.exp(-(off**2) / (1 + 0.35 * np.abs(off)))
        at += rng.uniform(0.55, 1.25)
    relief = np.maximum(relief, 0.35)
    return np.pad(relief, ((0, 0), (2, 2)), mode="wrap").astype(np.float32)


def vessel_tile(rng: np.random.Generator) -> np.ndarray:
    """float32 [TILE, TILE] in 0..1: branching random walks, thinner at each fork, periodic both
    ways.
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
        cv2.polylines(
            canvas, [points], False, int(75 + 60 * thick), max(1, round(thick)), cv2.LINE_AA, 4
        )
        if forks < 3:
            for end in (len(path) * 3 // 5, -1):
                walks.append(
                    (
                        path[end],
                        turns[end] + rng.choice([-1, 1]) * rng.uniform(0.35, 0.9),
                        thick * 0.72,
                        forks + 1,
                    )
                )
    half = TILE // 2
    rolled = canvas.reshape(
        4, half, 2 * TILE
    )  # fold the overhanging halves back onto the other side
    rows = np.concatenate([np.maximum(rolled[1], rolled[3]), np.maximum(rolled[2], rolled[0])])
    rolled = rows.reshape(TILE, 4, half)
    cols = np.concatenate(
        [np.maximum(rolled[:, 1], rolled[:, 3]), np.maximum(rolled[:, 2], rolled[:, 0])], 1
    )
    return cv2.GaussianBlur(cols, (0, 0), 0.7).astype(np.float32) / 255


def wall_tile(rng: np.random.Generator) -> np.ndarray:
    """float32 [TILE, TILE, 4]: vessels, mottle, bumps (height in radii), residue (share of cover)."""
    broad, middle, fine = (noise(rng, cells, cells, TILE, TILE) for cells in (5, 15, 44))
    vessels = vessel_tile(rng) * (rng.uniform(0.3, 1.5) * np.clip(0.8 + 0.7 * broad, 0.0, 1.3))
    mottle = 0.6 * noise(rng, 4, 4, TILE, TILE) + 0.3 * noise(rng, 110, 110, TILE, TILE)
    mottle += 0.35 * middle[::-1] + 0.3 * fine[::-1]
    bumps = 0.009 * middle + rng.uniform(0.0025, 0.006) * fine
    residue = np.zeros((TILE, TILE), np.float32)
    if rng.random() < 0.3:
        residue = np.clip(
            (broad[:, ::-1] + 0.5 * middle[:, ::-1] + 0.2 * fine[:, ::-1] - rng.uniform(1.1, 2.0))
            * 1.5,
            0,
            1,
        )
        bumps += 0.02 * residue
    if rng.random() < 0.5:  # bubbles of foam
        foam = np.zeros((TILE, TILE), np.float32)
        for _ in range(int(rng.integers(1, 5))):
            for x, y in rng.normal(rng.uniform(0, TILE, 2), 14, (int(rng.integers(4, 30)), 2)):
                cv2.circle(
                    foam,
                    (int(x), int(y)),
                    int(rng.integers(1, 4)),
                    float(rng.uniform(0.01, 0.03)),
                    -1,
                    cv2.LINE_AA,
                )
        bumps += cv2.GaussianBlur(foam, (0, 0), 1.2)
    return np.dstack([vessels, mottle, bumps, residue]).astype(np.float32)


def axis_at(bend: np.ndarray, z: float) -> np.ndarray:
    return np.array([bend[0] * z * z, bend[1] * z * z, z])


def radius_at(relief: np.ndarray, angle: float, z: float) -> float:
    column = round(float(angle) % TURN / TURN * ANGLES) % ANGLES + 2
    row = int(np.clip((z - Z_START) / (Z_END - Z_START) * (STEPS - 1), 0, STEPS - 1))
    return float(relief[row, column])


def lobes_of(rng: np.random.Generator, kind: str, a: float) -> np.ndarray:
    """float64 [L, 6]: centres and semi-axes, in tangent, tangent, normal coordinates, for a polyp
    about `a` in radius.
    """
    squash = rng.uniform(0.75, 1.0)
    if kind == "sessile":
        parts = [[0, 0, a * rng.uniform(-0.1, 0.25), a, a * squash, a * rng.uniform(0.5, 0.85)]]
    elif kind == "flat":
        parts = [[0, 0, 0, a * 1.1, a * squash, a * rng.uniform(0.22, 0.38)]]
    elif kind == "stalked":
        lift, lean = a * rng.uniform(0.7, 1.2), rng.uniform(-0.6, 0.6, 2) * a
        parts = [
            [*lean, lift, a, a * squash, a * rng.uniform(0.75, 1.0)],
            [*(lean * 0.45), lift * 0.3, a * 0.42, a * 0.42, lift * 0.8],
        ]
    else:
        parts = [[0, 0, a * 0.2, a * 0.75, a * 0.75 * squash, a * 0.55]]
    rest = int(rng.integers(3, 6)) if kind == "lobed" else int(rng.integers(1, 4))
    crown = parts[0]
    for k in range(rest):  # further lobes, half sunk into the first
        turn, out = k * 2.4 + rng.uniform(-0.6, 0.6), rng.uniform(0.35, 0.85)
        size = rng.uniform(0.38, 0.6) if kind == "lobed" else rng.uniform(0.35, 0.65)
        u, v = crown[0] + np.cos(turn) * out * crown[3], crown[1] + np.sin(turn) * out * crown[4]
        rise = np.sqrt(1 - out**2) * crown[5] * (0.75 if kind == "lobed" else 0.3)
        parts.append([u, v, crown[2] + rise, a * size, a * size * 0.9, size * crown[5] * 1.1])
    return np.array(parts)


def polyp_at(
    rng: np.random.Generator, relief: np.ndarray, bend: np.ndarray, angle: float, z: float, a: float
) -> Polyp:
    """A polyp about `a` in radius and of a random kind on the wall."""
    inward, along = (
        -np.array([np.cos(angle), np.sin(angle), 0]),
        np.array([-np.sin(angle), np.cos(angle), 0]),
    )
    onward = np.array([0.0, 0.0, 1.0])
    turn = rng.uniform(0, TURN)
    frame = np.stack(
        [
            np.cos(turn) * along + np.sin(turn) * onward,
            -np.sin(turn) * along + np.cos(turn) * onward,
            inward,
        ]
    )
    kind = str(rng.choice(["sessile", "flat", "stalked", "lobed"], p=[0.36, 0.14, 0.2, 0.3]))
    lobes = lobes_of(rng, kind, a)
    base = axis_at(bend, z) - inward * radius_at(relief, angle, z)
    weights = lobes[:, 3] ** 2
    middle = (lobes[:, :3] * weights[:, None]).sum(0) / weights.sum()
    reach = 1.15 * float(
        (np.linalg.norm(lobes[:, :3] - middle, axis=1) + lobes[:, 3:].max(1)).max()
    )
    inverse = 1 / lobes[:, 3:]
    to_lobes = (inverse[:, :, None] * frame[None]).reshape(-1, 3)
    sums = np.kron(np.eye(len(lobes)), np.ones(3))
    if rng.random() < 0.6:  # redder or paler than the mucosa, but hardly ever just like it
        red, pale = 0.16 + abs(rng.normal(0, 0.16)), rng.normal(0, 0.07)
    else:
        red, pale = -0.06, 0.16 + abs(rng.normal(0, 0.14))
    return Polyp(
        frame=frame.astype(np.float32),
        to_lobes=to_lobes.astype(np.float32),
        shift=(-(to_lobes @ base) - (lobes[:, :3] * inverse).ravel()).astype(np.float32),
        gather=np.concatenate([sums, sums * (inverse**2).ravel()]).astype(np.float32),
        blend=a * rng.uniform(0.2, 0.6),
        crease=a * (rng.uniform(0.04, 0.12) if kind == "lobed" else rng.uniform(0.3, 0.6)),
        reach=reach,
        middle=base + middle @ frame,
        tint=np.exp([pale * 0.6 + 0.2 * red, pale - red, pale - 0.8 * red]).astype(np.float32),
        pits=(rng.uniform(0.5, 1.2), rng.uniform(0.03, 0.2), rng.uniform(0.6, 3.0)),
        rough=float(rng.uniform(0, 0.014)),
        vessels=float(rng.uniform(0, 0.35)),
    )


def draw_sequence(rng: np.random.Generator) -> Sequence:
    """The wall and its colours; polyps and camera are placed by `place`."""
    relief = wall_relief(rng)
    turn, amount = rng.uniform(0, TURN), rng.uniform(0.015, 0.09)
    hue = rng.normal(0.03, 0.2)
    albedo = np.array([0.72, 0.18, 0.085]) * np.exp(
        [0, hue + rng.normal(0, 0.1), 1.3 * hue + rng.normal(0, 0.15)]
    )
    return Sequence(
        relief=relief,
        bend=amount * np.array([np.cos(turn), np.sin(turn)]),
        tile=wall_tile(rng),
        grain=noise(rng, 44, 44, 256, 256) * 0.7 + noise(rng, 90, 90, 256, 256) * 0.5,
        albedo=albedo.astype(np.float32),
        residue=np.array([0.85, rng.uniform(0.26, 0.36), 0.04], np.float32),
        gloss=float(rng.uniform(0.3, 1.0)),
        ambient=float(rng.uniform(0.015, 0.05)),
        polyps=(),
        eye=np.zeros(3),
        distance=1.0,
        axes=np.eye(3),
        aspect=float(rng.choice([1.0, 1.2])),
    )


def place(
    sequence: Sequence, rng: np.random.Generator, share: float, second: bool
) -> Sequence | None:
    """Put a polyp that covers about `share` of the picture on the wall and a camera before it; None
    where they collide.
    """
    cone = HALF_VIEW * np.sqrt(
        4 * share * sequence.aspect / np.pi
    )  # half the angle that the polyp takes up
    low, high = max(0.08, 0.5 * np.sin(cone)), min(0.46, 2.4 * np.sin(cone))
    a, angle, z = rng.uniform(min(low, high), high), rng.uniform(0, TURN), rng.uniform(2.0, 3.4)
    polyps = (polyp_at(rng, sequence.relief, sequence.bend, angle, z, a),)
    if second:
        near = rng.choice([-1, 1]) * rng.uniform(0.5, 0.9) * (1 + a)
        polyps += (
            polyp_at(
                rng,
                sequence.relief,
                sequence.bend,
                angle + near,
                z + rng.uniform(-0.1, 0.6),
                a * rng.uniform(0.4, 0.9),
            ),
        )
    inward, distance = -np.array([np.cos(angle), np.sin(angle), 0]), a / np.sin(cone)
    steep, side = rng.uniform(0.05, min(0.92, 1.15 / distance)), rng.uniform(-0.35, 0.35)
    level = np.array([-np.sin(angle) * np.sin(side), np.cos(angle) * np.sin(side), -np.cos(side)])
    away = steep * inward + np.sqrt(1 - steep**2) * level
    eye = polyps[0].middle + away * distance
    x, y, _ = eye - axis_at(sequence.bend, eye[2])
    if (
        eye[2] < Z_START + 0.3
        or radius_at(sequence.relief, np.arctan2(y, x), eye[2]) - np.hypot(x, y) < 0.22
    ):
        return None
    lumen = np.array([2 * sequence.bend[0] * z, 2 * sequence.bend[1] * z, 1.0]) * rng.uniform(
        0, 1.6
    ) + rng.normal(0, 0.6, 3)
    sideways = lumen - away * (lumen @ away)
    swing = rng.uniform(
        0.0, max(0.1, 0.85 - 0.8 * cone)
    )  # off the polyp, towards the lumen as a rule
    forward = np.sin(swing) * sideways / np.linalg.norm(sideways) - np.cos(swing) * away
    right = np.cross(rng.normal(0, 1, 3), forward)
    right /= np.linalg.norm(right)
    return replace(
        sequence,
        polyps=polyps,
        eye=eye,
        distance=distance,
        axes=np.stack([right, np.cross(forward, right), forward]),
    )

"""The contents of a synthetic colonoscopy sequence: a tunnel with folds, polyps and a camera.

Lengths are in tunnel radii. The tunnel runs along +z and bends as a parabola; `relief` is its
radius over angle and z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medseg.data.synthetic.mucosa import (
    ANGLES,
    STEPS,
    TURN,
    Z_END,
    Z_START,
    noise,
    wall_relief,
    wall_tile,
)

HALF_VIEW = 0.92  # radians from the optical axis to the upper edge of the picture


@dataclass(frozen=True)
class Polyp:
    """A smooth union of L ellipsoids."""

    frame: np.ndarray  # [3, 3]: two tangents of the wall and its inward normal
    # float32 [3 L, 3] and [3 L]: from space to the frames in which each lobe is a unit ball
    to_lobes: np.ndarray
    shift: np.ndarray
    # float32 [2 L, 3 L]: sums of squares in those frames, plain and over squared semi-axes
    gather: np.ndarray
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


def axis_at(bend: np.ndarray, z: float) -> np.ndarray:
    """The point [3] of the tunnel's axis at z."""
    return np.array([bend[0] * z * z, bend[1] * z * z, z])


def radius_at(relief: np.ndarray, angle: float, z: float) -> float:
    """The radius of the tunnel at an angle and z."""
    column = round(float(angle) % TURN / TURN * ANGLES) % ANGLES + 2
    row = int(np.clip((z - Z_START) / (Z_END - Z_START) * (STEPS - 1), 0, STEPS - 1))
    return float(relief[row, column])


def lobes_of(rng: np.random.Generator, kind: str, a: float) -> np.ndarray:
    """float64 [L, 6]: centres and semi-axes of the lobes of a polyp about `a` in radius.

    Coordinates are tangent, tangent, normal.
    """
    squash = rng.uniform(0.75, 1.0)
    if kind == "sessile":
        parts = [[0, 0, a * rng.uniform(-0.1, 0.25), a, a * squash, a * rng.uniform(0.5, 0.85)]]
    elif kind == "flat":
        parts = [[0, 0, 0, a * 1.1, a * squash, a * rng.uniform(0.22, 0.38)]]
    elif kind == "stalked":
        lift = a * rng.uniform(0.7, 1.2)
        lean = rng.uniform(-0.6, 0.6, 2) * a
        parts = [
            [*lean, lift, a, a * squash, a * rng.uniform(0.75, 1.0)],
            [*(lean * 0.45), lift * 0.3, a * 0.42, a * 0.42, lift * 0.8],
        ]
    else:
        parts = [[0, 0, a * 0.2, a * 0.75, a * 0.75 * squash, a * 0.55]]
    if kind == "lobed":
        fewest, most, smallest, largest, height = 3, 5, 0.38, 0.6, 0.75
    else:
        fewest, most, smallest, largest, height = 1, 3, 0.35, 0.65, 0.3
    rest = int(rng.integers(fewest, most + 1))
    crown = parts[0]
    for k in range(rest):  # further lobes, half sunk into the first
        turn = k * 2.4 + rng.uniform(-0.6, 0.6)
        out = rng.uniform(0.35, 0.85)
        size = rng.uniform(smallest, largest)
        u = crown[0] + np.cos(turn) * out * crown[3]
        v = crown[1] + np.sin(turn) * out * crown[4]
        rise = np.sqrt(1 - out**2) * crown[5] * height
        parts.append([u, v, crown[2] + rise, a * size, a * size * 0.9, size * crown[5] * 1.1])
    return np.array(parts)


def polyp_at(
    rng: np.random.Generator, relief: np.ndarray, bend: np.ndarray, angle: float, z: float, a: float
) -> Polyp:
    """A polyp about `a` in radius and of a random kind on the wall."""
    inward = -np.array([np.cos(angle), np.sin(angle), 0])
    along = np.array([-np.sin(angle), np.cos(angle), 0])
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
    extent = np.linalg.norm(lobes[:, :3] - middle, axis=1) + lobes[:, 3:].max(1)
    reach = 1.15 * float(extent.max())
    inverse = 1 / lobes[:, 3:]
    to_lobes = (inverse[:, :, None] * frame[None]).reshape(-1, 3)
    sums = np.kron(np.eye(len(lobes)), np.ones(3))
    if rng.random() < 0.6:  # redder or paler than the mucosa, but hardly ever just like it
        red = 0.16 + abs(rng.normal(0, 0.16))
        pale = rng.normal(0, 0.07)
    else:
        red = -0.06
        pale = 0.16 + abs(rng.normal(0, 0.14))
    shift = -(to_lobes @ base) - (lobes[:, :3] * inverse).ravel()
    crease = (0.04, 0.12) if kind == "lobed" else (0.3, 0.6)
    return Polyp(
        frame=frame.astype(np.float32),
        to_lobes=to_lobes.astype(np.float32),
        shift=shift.astype(np.float32),
        gather=np.concatenate([sums, sums * (inverse**2).ravel()]).astype(np.float32),
        blend=a * rng.uniform(0.2, 0.6),
        crease=a * rng.uniform(*crease),
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
    turn = rng.uniform(0, TURN)
    amount = rng.uniform(0.015, 0.09)
    hue = rng.normal(0.03, 0.2)
    shades = [0, hue + rng.normal(0, 0.1), 1.3 * hue + rng.normal(0, 0.15)]
    albedo = np.array([0.72, 0.18, 0.085]) * np.exp(shades)
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
    """Put a polyp on the wall and a camera before it; None where the two collide.

    The polyp covers about `share` of the picture; `second` puts another one beside it.
    """
    # half the angle that the polyp takes up
    cone = HALF_VIEW * np.sqrt(4 * share * sequence.aspect / np.pi)
    low = max(0.08, 0.5 * np.sin(cone))
    high = min(0.46, 2.4 * np.sin(cone))
    a = rng.uniform(min(low, high), high)
    angle = rng.uniform(0, TURN)
    z = rng.uniform(2.0, 3.4)
    polyps = place_polyps(sequence, rng, (a, angle, z), second)
    distance = a / np.sin(cone)
    away = view_direction(rng, angle, distance)
    eye = polyps[0].middle + away * distance
    x, y, _ = eye - axis_at(sequence.bend, eye[2])
    if eye[2] < Z_START + 0.3:
        return None
    if radius_at(sequence.relief, np.arctan2(y, x), eye[2]) - np.hypot(x, y) < 0.22:
        return None
    lumen = np.array([2 * sequence.bend[0] * z, 2 * sequence.bend[1] * z, 1.0])
    lumen = lumen * rng.uniform(0, 1.6) + rng.normal(0, 0.6, 3)
    sideways = lumen - away * (lumen @ away)
    # off the polyp, towards the lumen as a rule
    swing = rng.uniform(0.0, max(0.1, 0.85 - 0.8 * cone))
    forward = np.sin(swing) * sideways / np.linalg.norm(sideways) - np.cos(swing) * away
    right = np.cross(rng.normal(0, 1, 3), forward)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forward, right), forward])
    return replace(sequence, polyps=polyps, eye=eye, distance=distance, axes=axes)


def place_polyps(
    sequence: Sequence,
    rng: np.random.Generator,
    at: tuple[float, float, float],
    second: bool,
) -> tuple[Polyp, ...]:
    """The polyp of a radius at an angle and z, `at`, and with `second` a smaller one near it."""
    a, angle, z = at
    first = polyp_at(rng, sequence.relief, sequence.bend, angle, z, a)
    if not second:
        return (first,)
    near = rng.choice([-1, 1]) * rng.uniform(0.5, 0.9) * (1 + a)
    onward = rng.uniform(-0.1, 0.6)
    smaller = a * rng.uniform(0.4, 0.9)
    other = polyp_at(rng, sequence.relief, sequence.bend, angle + near, z + onward, smaller)
    return first, other


def view_direction(rng: np.random.Generator, angle: float, distance: float) -> np.ndarray:
    """Unit vector [3] from a polyp at this angle to the eye."""
    inward = -np.array([np.cos(angle), np.sin(angle), 0])
    steep = rng.uniform(0.05, min(0.92, 1.15 / distance))
    side = rng.uniform(-0.35, 0.35)
    level = np.array([-np.sin(angle) * np.sin(side), np.cos(angle) * np.sin(side), -np.cos(side)])
    return steep * inward + np.sqrt(1 - steep**2) * level

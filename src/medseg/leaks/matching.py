"""Pairs of images of one scene: candidates by layout and colour, checked by local features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from medseg.leaks.fingerprints import Fingerprint

NEAREST = 10  # candidates of an image, in each of two orders
RATIO = 0.9  # a feature matches when its best partner is closer than this times the second best
MATCHES = 7  # features that must agree
TOLERANCE = 8.0  # pixels, at fingerprints.LONG_SIDE
LARGEST_SCALE = 3.0  # between two images of a pair
BLOCK = 512  # images compared with all others at once

Pair = tuple[int, int]


def exact_pairs(prints: Sequence[Fingerprint]) -> list[Pair]:
    """Pairs (a, b), a < b, of images with the same size and pixels."""
    by_digest: dict[str, list[int]] = {}
    for index, one in enumerate(prints):
        by_digest.setdefault(one.digest, []).append(index)
    pairs: list[Pair] = []
    for same in by_digest.values():
        pairs += itertools.combinations(same, 2)
    return sorted(pairs)


def near_pairs(
    prints: Sequence[Fingerprint],
    *,
    parts: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Pair, int]:
    """Pairs (a, b), a < b, that show the same scene, with the number of local features that agree.

    Crop, scale, rotation, brightness, compression and a small motion of the camera do not matter; a
    mirrored copy and images without texture are not found. `parts` names the part of
    each image: an image of a smaller part is then also compared with its nearest images of the
    other parts.
    """
    tried = candidates(prints, parts)
    found = {}
    for done, (a, b) in enumerate(tried, 1):
        if prints[a].digest == prints[b].digest:
            agreeing = MATCHES
        else:
            agreeing = agreeing_features(prints[a], prints[b])
        if agreeing >= MATCHES:
            found[a, b] = agreeing
        if progress and (done % 50 == 0 or done == len(tried)):
            progress(done, len(tried))
    return found


def candidates(
    prints: Sequence[Fingerprint], parts: Sequence[str] | None = None, nearest: int = NEAREST
) -> list[Pair]:
    """Pairs worth checking: the nearest of each image by chroma, and by all three vectors."""
    layout = np.stack([one.layout for one in prints])
    colours = np.stack([one.colours for one in prints])
    chroma = np.stack([one.chroma for one in prints])
    labels = np.array(parts if parts is not None else [""] * len(prints))
    sizes = {label: int((labels == label).sum()) for label in set(labels.tolist())}
    largest = max(sizes, key=sizes.get)
    pairs: set[Pair] = set()
    for start in range(0, len(prints), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(prints)))
        by_chroma = chroma[rows] @ chroma.T
        by_all = by_chroma + layout[rows] @ layout.T + colours[rows] @ colours.T
        other = (labels[rows] != largest)[:, None] & (labels[rows][:, None] != labels[None, :])
        for similarity in (by_chroma, by_all):
            similarity[np.arange(len(rows)), rows] = -np.inf
            pairs |= _nearest(similarity, rows, nearest)
        if len(sizes) > 1:
            pairs |= _nearest(np.where(other, by_all, -np.inf), rows, nearest)
    return sorted(pairs)


def agreeing_features(a: Fingerprint, b: Fingerprint) -> int:
    """How many local features one similarity transform carries from `a` to their match in `b`.

    Descriptors are compared by Hellinger distance (RootSIFT: Arandjelovic and Zisserman, CVPR
    2012), matches must be mutual and distinct (Lowe's ratio), and the transform is found by RANSAC,
    whose draws OpenCV fixes: the count is the same every time.
    """
    if min(len(a.points), len(b.points)) < MATCHES:
        return 0
    similarity = _root(a.features) @ _root(b.features).T
    rows = np.arange(len(a.points))
    best, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    first = similarity[rows, best]
    similarity[rows, best] = -1
    second = similarity.max(axis=1)
    # squared distances are 2 - 2 * similarity
    distinct = np.maximum(0, 1 - first) < RATIO**2 * np.maximum(0, 1 - second)
    kept = np.flatnonzero(distinct & (back[best] == rows))
    if len(kept) < MATCHES:
        return 0
    matrix, inliers = cv2.estimateAffinePartial2D(
        a.points[kept], b.points[best[kept]], ransacReprojThreshold=TOLERANCE, maxIters=500
    )
    if matrix is None or not 1 / LARGEST_SCALE < float(np.hypot(*matrix[0, :2])) < LARGEST_SCALE:
        return 0
    return int(inliers.sum())


def clusters(count: int, pairs: Sequence[Pair]) -> list[int]:
    """The cluster of each of `count` images when paired images share one.

    Numbers from 0 in the order of first appearance.
    """
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(index), len(numbers)) for index in range(count)]


def _nearest(similarity: np.ndarray, rows: np.ndarray, count: int) -> set[Pair]:
    """The pairs of each row with its `count` most similar images that are not at minus infinity."""
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    pairs: set[Pair] = set()
    for row, line, values in zip(rows.tolist(), order.tolist(), similarity, strict=True):
        near = [other for other in line if values[other] > -np.inf]
        pairs |= {(min(row, other), max(row, other)) for other in near}
    return pairs


def _root(features: np.ndarray) -> np.ndarray:
    values = features.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))

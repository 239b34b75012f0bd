"""Random numbers as a pure function of (seed, epoch, sample name, index).

There is no state, so no worker count, order, process or resume can change them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15


def name_keys(names: Sequence[str]) -> np.ndarray:
    """uint64 [N]: a hash of each sample name."""
    encoded = [name.encode(errors="surrogateescape") for name in names]
    digests = [hashlib.blake2b(name, digest_size=8).digest() for name in encoded]
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def uniforms(seed: int, epoch: int, keys: np.ndarray, count: int) -> np.ndarray:
    """float32 [N, count] in [0, 1): row n depends on `seed`, `epoch` and `keys[n]` only.

    SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2660193.2660195) over a counter, vectorised
    over samples.
    """
    with np.errstate(over="ignore"):
        start = _mix(_mix(keys ^ _mix(np.uint64(seed))) + np.uint64(epoch))
        counter = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        bits = _mix(start[:, None] + counter[None, :])
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def order(seed: int, epoch: int, keys: np.ndarray) -> np.ndarray:
    """int64 [N]: the order of the samples in an epoch; equal names, if any, keep their places."""
    position = uniforms(seed, epoch, keys ^ np.uint64(0x0BDE5), 1)[:, 0]
    return np.argsort(position, kind="stable")


def _mix(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64, uint64 [...] to uint64 [...]."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(_GOLDEN)).astype(np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

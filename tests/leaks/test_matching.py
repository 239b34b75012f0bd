"""Copies and views of one scene are paired, other images and text written into them are not."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from medseg.data.decode import read_image
from medseg.leaks.fingerprints import fingerprint
from medseg.leaks.matching import (
    MATCHES,
    agreeing_features,
    candidates,
    clusters,
    exact_pairs,
    near_pairs,
)


def texture(seed, height=200, width=260):
    """uint8 [H, W, 3]: smooth noise with a colour of its own."""
    rng = np.random.default_rng(seed)
    noise = sum(
        cv2.resize(
            rng.normal(0, 40, (height // s, width // s)),
            (width, height),
            interpolation=cv2.INTER_CUBIC,
        )
        for s in (4, 9)
    )
    return np.clip(
        noise[..., None] + np.array([170, 90 + 8 * seed, 60 + 5 * seed]), 40, 255
    ).astype(np.uint8)


CHANGES = {
    "crop": lambda x: x[30:170, 40:230],
    "scale": lambda x: cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brightness": lambda x: cv2.convertScaleAbs(x, alpha=0.7),
    "rotation": lambda x: np.ascontiguousarray(np.rot90(x)),
    "jpeg": lambda x: cv2.imdecode(
        cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR
    ),
    "all": lambda x: cv2.convertScaleAbs(
        cv2.resize(x[20:170, 40:230], None, fx=0.8, fy=0.8), alpha=0.8
    ),
}


@pytest.fixture(scope="module")
def ten():
    return [fingerprint(texture(seed)) for seed in range(10)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(ten, change):
    prints = [*ten, fingerprint(CHANGES[change](texture(3)))]
    assert list(near_pairs(prints)) == [(3, 10)]
    assert exact_pairs(prints) == []


def test_real_copies_are_found_through_crop_scale_and_brightness(real):
    files = sorted((real / "Kvasir-SEG" / "images").glob("*.jpg"))[:12]
    images = [read_image(file).pixels for file in files]
    cropped = [
        cv2.convertScaleAbs(
            x[
                int(x.shape[0] * 0.1) : int(x.shape[0] * 0.9),
                int(x.shape[1] * 0.12) : int(x.shape[1] * 0.92),
            ],
            alpha=0.8,
        )
        for x in images[:4]
    ]
    assert set(near_pairs([fingerprint(x) for x in [*images, *cropped]])) == {
        (i, 12 + i) for i in range(4)
    }


def test_exact_pairs_need_the_same_pixels_and_shape(ten):
    one = texture(0)
    other = one.copy()
    other[5, 5, 0] ^= 1
    prints = [fingerprint(x) for x in (one, other, one.copy(), one.reshape(260, 200, 3))]
    assert exact_pairs(prints) == [(0, 2)]


def test_agreement_is_repeatable_and_zero_without_features(ten):
    blank = fingerprint(np.full((100, 120, 3), 90, np.uint8))
    assert agreeing_features(ten[0], blank) == 0
    assert (
        agreeing_features(ten[0], ten[0])
        == agreeing_features(ten[0], ten[0])
        >= 0.9 * len(ten[0].points)
        > MATCHES
    )
    assert not len(fingerprint(np.zeros((64, 64, 3), np.uint8)).points)


def test_text_in_the_frame_makes_no_pair():
    def labelled(seed):
        image = cv2.resize(texture(seed), (384, 288))
        for line in range(6):
            cv2.putText(
                image,
                "B.O.R. 10/06/2015",
                (10, 60 + 24 * line),
                cv2.FONT_HERSHEY_PLAIN,
                1.1,
                (255, 255, 255),
                1,
            )
        return image // 2 + np.where(image == 255, 128, 0).astype(np.uint8)

    assert agreeing_features(fingerprint(labelled(1)), fingerprint(labelled(2))) < MATCHES


def test_candidates_are_the_nearest_of_each_image_and_of_other_parts():
    rng = np.random.default_rng(0)
    prints = [
        SimpleNamespace(
            **{
                key: rng.normal(size=8).astype(np.float32)
                for key in ("layout", "colours", "chroma")
            }
        )
        for _ in range(30)
    ]
    every = sum(
        np.stack([getattr(one, key) for one in prints])
        @ np.stack([getattr(one, key) for one in prints]).T
        for key in ("layout", "colours", "chroma")
    )
    chroma = np.stack([one.chroma for one in prints])
    parts = ["train"] * 22 + ["test"] * 8

    def slow(similarity, rows, allowed):
        for a in rows:
            ranked = sorted(
                (b for b in range(30) if b != a and allowed(a, b)), key=lambda b: -similarity[a, b]
            )
            yield from ((min(a, b), max(a, b)) for b in ranked[:3])

    expected = {
        *slow(every, range(30), lambda a, b: True),
        *slow(chroma @ chroma.T, range(30), lambda a, b: True),
    }
    assert candidates(prints, nearest=3) == sorted(expected)
    expected |= {*slow(every, range(22, 30), lambda a, b: parts[a] != parts[b])}
    assert candidates(prints, parts, nearest=3) == sorted(expected)


def test_clusters_are_connected_components():
    rng = np.random.default_rng(1)
    pairs = [tuple(sorted(map(int, rng.choice(30, 2, replace=False)))) for _ in range(18)]
    reach = np.eye(30, dtype=bool)
    for a, b in pairs:
        reach[a, b] = reach[b, a] = True
    for _ in range(5):
        reach = reach @ reach
    found = clusters(30, pairs)
    assert all(
        (found[a] == found[b]) == reach[a, b] for a, b in itertools.product(range(30), repeat=2)
    )
    assert list(dict.fromkeys(found)) == list(range(max(found) + 1))


def test_the_order_of_a_pair_does_not_matter_much(ten):
    """Matches are mutual, so only the direction of the transform differs."""
    other = fingerprint(CHANGES["crop"](texture(0)))
    assert abs(
        agreeing_features(ten[0], other) - agreeing_features(other, ten[0])
    ) <= 0.1 * agreeing_features(ten[0], other)


def test_scales_beyond_three_are_refused(ten):
    shrunk = replace(ten[0], points=ten[0].points / 4)
    assert (
        agreeing_features(ten[0], shrunk)
        == 0
        < agreeing_features(ten[0], replace(ten[0], points=ten[0].points / 2))
    )

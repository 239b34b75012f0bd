"""Laws of the built-in data set: pure, honest about its parts, and like the thing it stands for."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from medseg.data.synthetic.synthesize import FRAMES, parts_of, scene, synthesize
from medseg.errors import UserError

SIZE = 64
SEQUENCES = 48


@pytest.fixture(scope="module")
def firsts() -> list[tuple[np.ndarray, np.ndarray]]:
    """Image and mask of the first frame of each sequence."""
    return [scene(0, sequence, 0, SIZE) for sequence in range(SEQUENCES)]


@pytest.fixture(scope="module")
def with_polyps(firsts) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(image.astype(float), mask) for image, mask in firsts if mask.any()]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict, list[tuple[int, int]]]:
    out, calls = tmp_path_factory.mktemp("synthetic") / "set", []
    facts = synthesize(
        out, images=30, size=SIZE, seed=3, progress=lambda done, total: calls.append((done, total))
    )
    return out, facts, calls


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pictures(folder: Path) -> dict[str, str]:
    """Digest of each image and mask, whichever part it lies in."""
    return {
        f"{Path(name).parent.name}/{Path(name).name}": digest
        for name, digest in digests(folder).items()
        if "/" in name
    }


@pytest.mark.parametrize("size", [64, 97, 256])
def test_shapes_types_and_values(size):
    image, mask = scene(1, 2, 1, size)
    assert image.dtype == np.uint8 and mask.dtype == np.uint8
    assert image.shape == (*mask.shape, 3)
    assert image.shape[0] == size and image.shape[1] in (size, round(1.2 * size))
    assert set(np.unique(mask)) <= {0, 1}


def test_a_scene_is_a_pure_function():
    image, mask = scene(5, 3, 2, SIZE)
    for sequence in range(9):  # drives the sequence out of any cache
        scene(6, sequence, 0, SIZE)
    again, mask_again = scene(5, 3, 2, SIZE)
    assert np.array_equal(image, again) and np.array_equal(mask, mask_again)


@pytest.mark.parametrize("other", [(6, 3, 2), (5, 4, 2), (5, 3, 1)])
def test_seed_sequence_and_frame_each_matter(other):
    one, two = scene(5, 3, 2, SIZE)[0], scene(*other, SIZE)[0]
    assert one.shape != two.shape or not np.array_equal(one, two)


def test_frames_of_a_sequence_are_near_duplicates():
    views = np.array(
        [
            [
                cv2.resize(
                    scene(2, sequence, frame, SIZE)[0], (32, 32), interpolation=cv2.INTER_AREA
                ).astype(float)
                for frame in (0, 1)
            ]
            for sequence in range(12)
        ]
    )
    within = np.abs(views[:, 0] - views[:, 1]).mean((1, 2, 3))
    between = np.abs(views[:, None, 0] - views[None, :, 0]).mean((2, 3, 4))[~np.eye(12, dtype=bool)]
    assert within.min() > 0
    assert np.median(within) < 0.5 * np.median(between)
    assert np.quantile(within, 0.75) < np.quantile(between, 0.05)


def test_polyps_are_small_and_large(with_polyps):
    shares = np.array([mask.mean() for _, mask in with_polyps])
    assert shares.max() < 0.4
    assert np.quantile(shares, 0.05) > 0.004
    assert (shares < 0.02).any() and (shares > 0.15).any()


def test_an_eighth_of_the_sequences_has_no_polyp(firsts):
    empty = [sequence for sequence, (_, mask) in enumerate(firsts) if not mask.any()]
    assert SEQUENCES // 8 <= len(empty) <= SEQUENCES // 8 + 3
    throughout = [
        sequence
        for sequence in empty
        if not any(scene(0, sequence, frame, SIZE)[1].any() for frame in (1, 2, 3))
    ]
    assert len(throughout) >= SEQUENCES // 8


def test_no_threshold_on_colour_finds_the_polyps(with_polyps):
    scores = []
    for image, mask in with_polyps:
        redness = image[..., 0] / (image.sum(2) + 1)
        for side in (redness, -redness, image.sum(2)):
            scores.append(
                max(
                    dice(side > level, mask)
                    for level in np.quantile(side, np.linspace(0.5, 0.99, 12))
                )
            )
    assert np.mean(np.max(np.reshape(scores, (-1, 3)), 1)) < 0.5


def dice(guess: np.ndarray, mask: np.ndarray) -> float:
    return 2 * (guess & (mask > 0)).sum() / (guess.sum() + mask.sum())


def test_polyps_differ_from_their_surroundings(with_polyps):
    steps = []
    for image, mask in with_polyps:
        rim = (cv2.dilate(mask, np.ones((7, 7), np.uint8)) > 0) & (mask == 0)
        steps.append(np.abs(image[mask > 0].mean(0) - image[rim].mean(0)).max())
    assert np.median(steps) > 8


def test_scenes_have_the_light_of_an_endoscope(firsts):
    images = [image for image, _ in firsts]
    red, green, blue = (
        np.concatenate([image[image.max(2) > 40] for image in images]).astype(float).mean(0)
    )
    assert red > 1.3 * green > 1.3 * blue  # mucosa
    assert np.mean([(image.min(2) > 225).any() for image in images]) > 0.4  # wet highlights
    assert (
        0.3 < np.mean([image[0, -1].max() < 20 for image in images]) < 0.95
    )  # a black border on some


def test_layout_and_facts(written):
    out, facts, calls = written
    assert sorted(path.name for path in out.iterdir()) == [
        "dataset.json",
        "groups.csv",
        "test",
        "train",
        "validation",
    ]
    counts, empty = {}, 0
    for part in ("train", "validation", "test"):
        images, masks = (
            sorted((out / part / "images").iterdir()),
            sorted((out / part / "masks").iterdir()),
        )
        assert [path.stem for path in images] == [path.stem for path in masks]
        assert {path.suffix for path in images} == {".jpg"} and {path.suffix for path in masks} == {
            ".png"
        }
        counts[part] = len(images)
        for image, mask in zip(images, masks, strict=True):
            pixels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(pixels)) <= {0, 255}
            assert cv2.imread(str(image)).shape[:2] == pixels.shape
            empty += not pixels.any()
    assert json.loads((out / "dataset.json").read_text()) == facts
    assert facts["parts"] == counts and sum(counts.values()) == facts["images"] == 30
    assert (facts["seed"], facts["size"]) == (3, SIZE)
    assert facts["share_of_empty_frames"] == pytest.approx(empty / 30, abs=1e-4)
    assert [total for _, total in calls] == [30] * len(calls) and calls[-1][0] == 30
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_saved_files_hold_the_scenes(written):
    out = written[0]
    image, mask = scene(3, 1, 2, SIZE)
    saved = cv2.imread(str(next(out.rglob("seq001_frame02.jpg"))))[..., ::-1]
    assert np.abs(saved.astype(float) - image).mean() < 8  # JPEG, red and blue in their places
    assert np.array_equal(cv2.imread(str(next(out.rglob("seq001_frame02.png"))), 0), mask * 255)


def test_no_sequence_is_in_two_parts(written):
    out = written[0]
    with open(out / "groups.csv", newline="") as file:
        groups = {row["name"]: row["group"] for row in csv.DictReader(file)}
    parts = {
        part: {path.stem for path in (out / part / "images").iterdir()}
        for part in ("train", "validation", "test")
    }
    assert set(groups) == set.union(*parts.values())
    assert sum(len({groups[name] for name in names}) for names in parts.values()) == len(
        set(groups.values())
    )


def test_files_do_not_depend_on_workers_or_time(written, tmp_path):
    synthesize(tmp_path / "again", images=30, size=SIZE, seed=3, workers=1)
    assert digests(tmp_path / "again") == digests(written[0])


def test_pictures_do_not_depend_on_how_many_there_are(written, tmp_path):
    synthesize(tmp_path / "fewer", images=14, size=SIZE, seed=3)
    many, few = pictures(written[0]), pictures(tmp_path / "fewer")
    assert len(few) == 28 and few.items() <= many.items()


@pytest.mark.parametrize("images", [*range(9, 41), 160, 161, 1000])
def test_parts_hold_all_images_and_none_is_empty(images):
    plan = parts_of(images)
    counts = {part: sum(frames for _, frames in sequences) for part, sequences in plan.items()}
    assert list(counts) == ["train", "validation", "test"]
    assert sum(counts.values()) == images and min(counts.values()) >= 1
    assert counts["train"] == max(counts.values())
    numbers = [sequence for sequences in plan.values() for sequence, _ in sequences]
    assert numbers == list(range(len(numbers)))
    assert all(1 <= frames <= FRAMES for sequences in plan.values() for _, frames in sequences)
    if images >= 160:
        assert counts["train"] / images == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"images": 8}, "images 8"), ({"size": 63}, "size 63"), ({"seed": -1}, "seed -1")],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, wrong, word):
    with pytest.raises(UserError, match=word):
        synthesize(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not an empty folder"):
        synthesize(tmp_path, images=9, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

"""Shared by the suite: small generated data sets, a private cache, and real images at hand."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

REAL = Path(os.environ.get("MEDSEG_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    """No test writes to the user's cache."""
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def real():
    """The folder of real data sets."""
    if not REAL.is_dir():
        pytest.skip(
            "no real images here: set MEDSEG_TEST_DATA to a folder that holds Kvasir-SEG,"
            " CVC-ClinicDB, ..."
        )
    return REAL


def scene(
    index: int, height: int = 56, width: int = 64, empty: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A dim noisy image with a brighter ellipse (BGR), and its mask of 0 and 255."""
    rng = np.random.default_rng(index)
    image = rng.normal((60, 70, 120), 12, (height, width, 3))
    mask = np.zeros((height, width), np.uint8)
    if not empty:
        centre = int(rng.integers(16, width - 16)), int(rng.integers(16, height - 16))
        cv2.ellipse(
            mask,
            centre,
            (int(rng.integers(7, 14)), int(rng.integers(7, 14))),
            float(rng.integers(180)),
            0,
            360,
            255,
            -1,
        )
        image[mask > 0] += (30, 50, 70)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_part(folder: Path, count: int, first: int = 0, *, vary: bool = True) -> None:
    """`count` images and masks below `folder`; sizes differ when `vary`."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i in range(first, first + count):
        size = {"height": 56 + 4 * (i % 3), "width": 64 + 6 * (i % 2)} if vary else {}
        image, mask = scene(i, **size)
        cv2.imwrite(str(folder / "images" / f"frame{i:03}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"frame{i:03}.png"), mask)


@pytest.fixture
def dataset(tmp_path):
    """12 training, 4 validation and 5 test images of several sizes.

    In the layout of the original toolkit.
    """
    root = tmp_path / "set"
    for part, count, first in (("train", 12, 0), ("validation", 4, 100), ("test", 5, 200)):
        write_part(root / part, count, first)
    return root


FAST = {
    "model": "unet",
    "base_channels": 4,
    "size": 32,
    "epochs": 2,
    "batch_size": 4,
    "lr": 0.01,
    "accelerator": "cpu",
    "precision": "fp32",
    "threads": 1,
    "tensorboard": False,
    "progress": False,
}


@pytest.fixture
def fast(dataset, tmp_path):
    """Options of a training that takes a second."""
    return FAST | {"data": str(dataset), "out": str(tmp_path / "run")}


def threshold_red(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a U-Net of four base channels that finds the lesions of `scene` by their red.

    One channel carries red through the top level, another is constant, and the logits are their
    multiples; every other weight is 0. Each sum then has one term that is not 0, so that the
    logits are the same to the bit on every CPU, with any number of threads, for any batch.
    """
    found = {key: torch.zeros_like(value) for key, value in weights.items()}
    for key in found:
        if key.endswith("running_var"):  # with its epsilon of 1e-5 each batch norm is the identity
            found[key].fill_(1 - 1e-5)
            found[key.replace("running_var", "weight")].fill_(1)
    convolutions = (
        ("down.0.0", 0),
        ("down.0.1", 0),
        ("merge.3.0", 4),  # after the four channels from below
        ("merge.3.1", 0),
    )
    for name, source in convolutions:
        found[f"{name}.0.weight"][0, source, 1, 1] = 1
        found[f"{name}.1.bias"][1] = 1.5  # the constant channel
    found["down.0.0.1.bias"][0] = 1  # red, normalised, reaches down to -2; ReLU cuts at 0
    found["head.weight"][1, 0] = found["head.weight"][0, 1] = 4
    return found


@pytest.fixture
def separated(fast, dataset, tmp_path):
    """The folder of a run whose probabilities are well away from one half.

    What depends on which side of one half a pixel falls is then the same on every machine. A
    network trained for a few steps says 0.49 to 0.502 everywhere, and rounding decides.
    """
    import medseg

    run = tmp_path / "separated"
    medseg.train(**fast | {"out": str(run), "epochs": 1, "lr": 1e-12})
    for name in ("best.pt", "last.pt"):
        stored = torch.load(run / name, weights_only=True)
        torch.save(stored | {"weights": threshold_red(stored["weights"])}, run / name)
    predictor = medseg.Predictor.load(run, accelerator="cpu", precision="fp32")
    for path in sorted(dataset.glob("*/images/*")):
        assert np.abs(predictor.probability(path)[1] - 0.5).min() > 5e-4, path
    return str(run)

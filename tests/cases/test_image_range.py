"""8 or 12 bits in 16-bit files: the network would see black, and a warning says what to do."""

import re

import numpy as np
import pytest
import tifffile
from scenes import scene, write

from medseg.cli import main
from medseg.data.decode import read_image, small_range

TINY = "--model unet --base-channels 4 --size 32 --epochs 1 --accelerator cpu --no-tensorboard"


def deep_set(root, bits: int):
    for i in range(8):
        image, mask = scene(i)
        deep = image.astype(np.uint16) << (bits - 8)
        (root / "images").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / "images" / f"s{i:02d}.tif", deep, photometric="rgb")
        write(root / "masks" / f"s{i:02d}.png", mask * 255)
    return root


@pytest.mark.parametrize(("bits", "warned"), [(8, True), (12, True), (16, False)])
def test_images_that_use_little_of_their_range(tmp_path, capsys, bits, warned):
    root = deep_set(tmp_path / "set", bits)
    train = ["train", "--data", str(root), *TINY.split()]
    assert main([*train, "--out", str(tmp_path / "run")]) == 0
    words = rf"the training images use values up to [\d,]+ of 65,535.*--bit-depth {bits} "
    assert bool(re.search(words, capsys.readouterr().err.replace("\n", " "))) == warned
    assert main([*train, "--out", str(tmp_path / "other"), "--bit-depth", str(bits)]) == 0
    assert "values up to" not in capsys.readouterr().err
    assert main(["data", "check", str(root)]) == (1 if warned else 0)
    assert (f"--bit-depth {bits}" in capsys.readouterr().out.replace("\n", " ")) == warned


def test_the_range_of_every_type(tmp_path):
    for kind, top in (("u2", 65535), ("i2", 32767), ("u4", 2**32 - 1)):
        tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9), 100, kind), photometric="minisblack")
        assert read_image(tmp_path / "a.tif").used == (100, top)
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9), 0.01, "f4"), photometric="minisblack")
    assert read_image(tmp_path / "a.tif").used == (255, 255)
    assert not small_range((255, 255)) and not small_range((16384, 65535))
    assert "--bit-depth 14 makes 16383 white" in small_range((16383, 65535))

"""A test part that was published without masks is no fault, and training says that it has none."""

import numpy as np
import pytest
from scenes import scene, write

import medseg
from conftest import FAST
from medseg.cli import main
from medseg.config import CheckConfig
from medseg.doctor.check import check


@pytest.fixture
def drive(tmp_path):
    """DRIVE as distributed today: drawings for training, fields of view for both parts."""
    root = tmp_path / "DRIVE"
    for part, numbers in (("training", range(21, 29)), ("test", range(1, 5))):
        for number in numbers:
            name = f"{number:02}"
            image, mask = scene(number)
            write(root / part / "images" / f"{name}_{part}.tif", image)
            write(root / part / "mask" / f"{name}_{part}_mask.png", np.full_like(mask, 255))
            if part == "training":
                write(root / part / "1st_manual" / f"{name}_manual1.png", mask * 255)
    return root


def test_the_check_names_the_part_and_finds_no_fault(drive, capsys):
    assert main(["data", "check", str(drive), "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert "12 images, 8 masks (train 8, test 4)" in said and "nothing found" in said
    assert "test: 4 images, and no masks beside them: no fault; training omits them" in said
    report = check(CheckConfig(data=str(drive), progress=False))
    assert report["without_masks"] == {"test": 4} and report["found"] == []


def test_its_images_are_looked_at_all_the_same(drive):
    (drive / "test" / "images" / "02_test.tif").write_bytes(b"II*\0 cut off")
    write(drive / "test" / "images" / "03_test.tif", scene(21)[0])  # of the training part
    report = check(CheckConfig(data=str(drive), progress=False))
    assert [(row["code"], row["count"]) for row in report["found"]] == [("MS001", 1), ("MS014", 1)]


def test_one_mask_that_lacks_is_a_fault_as_before(drive, capsys):
    (drive / "training" / "1st_manual" / "23_manual1.png").unlink()
    assert main(["data", "check", str(drive), "--no-progress", "--list"]) == 1
    assert "23_training.tif: MS002 no mask" in capsys.readouterr().out


def test_training_says_that_there_is_no_test(drive, tmp_path):
    options = FAST | {"data": str(drive), "epochs": 1, "out": str(tmp_path / "run")}
    summaries = medseg.train(**options)["summaries"]
    assert list(summaries) == ["validation"]
    assert any("has no test part with masks" in note for note in summaries["validation"]["notes"])

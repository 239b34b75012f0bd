"""Calibrate and prepare take data in another arrangement than the usual one, said by --images."""

import json
from dataclasses import replace

from scenes import pairs, scene, write

import medseg
from conftest import FAST
from medseg.cli import main
from medseg.data.sources import prepare
from medseg.data.sources.catalog import CATALOG


def test_a_run_is_calibrated_on_its_data_arranged_anew(tmp_path, capsys):
    data = pairs(tmp_path / "set", 12)
    options = FAST | {"data": str(data), "epochs": 1, "out": str(tmp_path / "run")}
    run = medseg.train(**options)["run"]
    for file in sorted(data.glob("masks/*.png")):  # two drawings of each image: which is it?
        (tmp_path / "anew" / "a").mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / "anew" / "a" / f"{file.stem}_x.png")
        write(tmp_path / "anew" / "a" / f"{file.stem}_y.png", scene(0)[1])
        image = data / "images" / file.name
        image.rename(tmp_path / "anew" / "a" / file.name)
    arguments = ["calibrate", run, "--data", str(tmp_path / "anew"), "--accelerator", "cpu"]
    rule = ["--images", "a/s??.png", "--masks"]
    assert main([*arguments, *rule, "a/{stem}_x.png"]) == 0
    assert json.loads((tmp_path / "run" / "calibration.json").read_text())["images"] == 1
    assert "changed since" not in capsys.readouterr().err
    assert main([*arguments, *rule, "a/{stem}_z.png"]) == 2
    assert "no mask a/s00_z" in capsys.readouterr().err


def test_a_download_arranged_anew_is_prepared(tmp_path, monkeypatch, capsys):
    source = tmp_path / "download"
    for i in range(12):
        image, mask = scene(i)
        write(source / "frames" / f"f{i:02}.png", image)
        for observer in "ab":
            write(source / "drawn" / observer / f"{i:02}.png", mask * 255)
    monkeypatch.setitem(
        prepare.CATALOG, "chase-db1", replace(CATALOG["chase-db1"], images=12, pattern=None)
    )
    arguments = ["data", "prepare", "chase-db1", str(source), "--no-progress"]
    rule = ["--images", "frames/f{id}.png", "--masks", "drawn/a/{id}.png"]
    assert main([*arguments, "--out", str(tmp_path / "out"), *rule]) == 0
    there = tmp_path / "out" / "PolypDataset" / "CHASE_DB1"
    assert len(list(there.glob("**/masks/*.png"))) == 12
    assert main([*arguments, "--out", str(tmp_path / "more"), *rule[:2]]) == 2
    assert "--masks is missing" in capsys.readouterr().err

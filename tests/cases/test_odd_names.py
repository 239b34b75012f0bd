"""Names with brackets, braces and percent signs are text everywhere; names that are no UTF-8 are
one line.
"""

import io
import json
import os
import shutil
import sys
from itertools import chain
from pathlib import Path

import pytest
from scenes import pairs

from medseg.cli import main
from medseg.console import log_to_file, print_table
from medseg.data.randomness import name_keys
from medseg.data.sources.splits import hold_out
from medseg.errors import UserError
from medseg.files import write_text

ODD = ["scan00[old]", "scan00[red]", "{0}", "<red>", "%s", ":smile:", "[bold]x", "a[", "b]", "{}"]
FOLDER = "x[/BR]{0} <b> %s :smile:"
TINY = {"model": "unet", "base-channels": 4, "size": 32, "threads": 1, "workers": 1, "epochs": 1}
TINY = [*chain.from_iterable((f"--{k}", str(v)) for k, v in TINY.items()), "--no-tensorboard"]


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A data set of odd names in a folder of an odd name; two of its images are the same."""
    monkeypatch.chdir(tmp_path)
    data = pairs(tmp_path / FOLDER, len(ODD), names=ODD)
    shutil.copy(data / "images" / f"{ODD[0]}.png", data / "images" / f"{ODD[1]}.png")
    return FOLDER


def test_every_verb_prints_and_keeps_odd_names(odd, tmp_path, capsys):
    assert main(["data", "check", odd]) == 1
    assert "scan00[old].png" in (out := capsys.readouterr().out) and Path(FOLDER).name in out
    assert main(["data", "check", odd, "--list"]) == 1
    assert f"{FOLDER}/images/scan00[red].png: MS013" in capsys.readouterr().out
    run = f"run {FOLDER}"  # the slash makes a folder in a folder
    assert main(["train", "--data", odd, *TINY, "--out", run]) == 0
    assert f"run {run}" in (tmp_path / run / "log.txt").read_text()
    assert main(["predict", run, odd, "--out", f"out {FOLDER}"]) == 0
    found = {path.stem for path in (tmp_path / f"out {FOLDER}" / "masks").rglob("*.png")}
    assert found == set(ODD)
    capsys.readouterr()
    assert main(["evaluate", run, "--split-part", "all", "--json"]) == 0
    assert main(["data", "leaks", odd, "--split", "random-60-20-20", "--out", "l[/l]{}"]) in (0, 1)
    assert main(["data", "split", odd, "--scheme", "random-kfold", "--out", "f[/f]{}"]) == 0
    fold = next((tmp_path / "f[/f]{}").glob("*fold1"))
    assert main(["data", "check", odd, "--split", str(fold), "--ignore", "MS013,MS014"]) == 0


def test_a_table_prints_texts_as_they_are(capsys):
    print_table("[red] :x: {0}", [{"a [bold]": name, "b": 1} for name in ODD])
    out = capsys.readouterr().out
    assert [text for text in ("[red] :x: {0}", "a [bold]", *ODD) if text not in out] == []


@pytest.fixture
def latin(tmp_path):
    """A data set whose names are in the Windows code page, as an old archive unpacks."""
    data = pairs(tmp_path / "set")
    for part in ("images", "masks"):
        for file in list((data / part).iterdir()):
            file.rename(file.with_name(f"M\udcfcller_{file.name}"))
    return data


@pytest.mark.parametrize(
    "verb",
    [
        ("train", *TINY, "--data"),
        ("data", "check"),
        ("data", "leaks"),
        ("data", "split", "--scheme", "random-kfold"),
    ],
)
def test_names_that_are_no_utf_8_are_refused_by_every_verb_alike(verb, latin, capsys):
    assert main([*verb, str(latin)]) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line and r"M\udcfcller_s00.png': this name is no UTF-8" in line
    assert line.endswith("give the file or folder another name")


def test_a_folder_that_is_no_utf_8(latin, capsys, monkeypatch, tmp_path):
    shutil.copytree(pairs(tmp_path / "plain", 6), folder := tmp_path / "M\udcfcller")
    assert main(["data", "check", str(folder)]) == 2
    assert r"M\udcfcller': this name is no UTF-8" in capsys.readouterr().err
    monkeypatch.chdir(folder)  # not given, but part of every whole path
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    assert main(["train", "--data", ".", *TINY, "--out", "run"]) == 0
    assert main(["evaluate", "run", "--split-part", "all", "--out", "ev", "--json"]) == 0
    assert main(["data", "check", "."]) == 0
    printed.flush()
    assert b"M\\udcfcller: 6 images" in printed.buffer.getvalue()
    assert json.loads((folder / "ev" / "summary.json").read_text())["data"] == folder.name


def test_texts_and_digests_hold_any_name(tmp_path):
    write_text(tmp_path / "a.json", '"M\udcfc"')
    assert json.loads((tmp_path / "a.json").read_text()) == "M\udcfc"
    assert len(set(name_keys(["M\udcfc", "M\udcfd", "Mü"]))) == 3
    assert hold_out(["M\udcfc", "b"], 0.5, 0)
    from loguru import logger

    (tmp_path / "{0} {time}").mkdir()
    handle = log_to_file(tmp_path / "{0} {time}" / "log.txt")
    logger.info("a name: M\udcfc {0}")
    logger.remove(handle)
    assert "M\\udcfc {0}" in (tmp_path / "{0} {time}" / "log.txt").read_text()


def test_a_study_in_a_folder_with_braces(tmp_path):
    from medseg.search.study import default_storage, open_storage

    folder = tmp_path / "{0} {name}"
    folder.mkdir()
    open_storage(default_storage(folder), 60)
    assert os.listdir(folder) == ["study.db"]


def test_paths_of_the_python_interface_are_checked_too(latin):
    from medseg.data.sources.folder import open_dataset

    with pytest.raises(UserError, match="is no UTF-8"):
        open_dataset(latin)

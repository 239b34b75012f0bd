"""Commands beside training follow --pages too, or say that they do not."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from scenes import scene, write

import medseg
from conftest import FAST
from medseg.cli import main
from medseg.config import CheckConfig, make
from medseg.data.sources.folder import open_dataset
from medseg.doctor.check import check
from medseg.errors import UserError
from medseg.inference.predictor import Predictor

PAGES = 3


def write_stack(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pages, photometric="minisblack")


@pytest.fixture
def stacks(tmp_path):
    """Six pairs of TIFF stacks of three pages."""
    root = tmp_path / "stacks"
    for k in range(6):
        pages = [scene(100 * k + i) for i in range(PAGES)]
        write_stack(root / "images" / f"v{k}.tif", np.stack([image[..., 0] for image, _ in pages]))
        write_stack(root / "masks" / f"v{k}.tif", np.stack([mask * 255 for _, mask in pages]))
    return root


@pytest.fixture
def run(stacks, tmp_path):
    options = FAST | {"data": str(stacks), "epochs": 1, "pages": "all", "out": str(tmp_path / "r")}
    return medseg.train(**options)["run"]


def predicted(run, out, *words):
    arguments = ["predict", run, *map(str, words), "--out", str(out), "--accelerator", "cpu"]
    assert main([*arguments, "--save", "mask", "--no-progress"]) == 0
    return {path.stem: cv2.imread(str(path), 0) for path in (out / "masks").iterdir()}


def test_every_page_is_predicted_and_named_like_the_page(run, stacks, tmp_path, capsys):
    (tmp_path / "more").mkdir()
    write(tmp_path / "more" / "single.png", scene(7)[0])
    given = (stacks / "images" / "v1.tif", tmp_path / "more")
    found = predicted(run, tmp_path / "all", *given, "--pages", "all")
    assert sorted(found) == ["single", "v1-page01", "v1-page02", "v1-page03"]
    assert "1 of 2 files hold several pages: 4 images in all" in capsys.readouterr().err
    for page in range(PAGES):  # each as if it were a file by itself
        write(tmp_path / "apart" / f"p{page}.png", scene(100 + page)[0][..., 0])
    apart = predicted(run, tmp_path / "pieces", tmp_path / "apart")
    for page in range(PAGES):
        np.testing.assert_array_equal(found[f"v1-page{page + 1:02}"], apart[f"p{page}"])


def test_by_default_the_first_is_predicted_and_it_is_said(run, stacks, tmp_path, capsys):
    found = predicted(run, tmp_path / "first", stacks / "images" / "v1.tif")
    assert list(found) == ["v1"]
    said = "1 of 1 images hold several pages (v1.tif: 3); the first is used; --pages all reads each"
    assert said in capsys.readouterr().err


def test_a_damaged_page_is_named_and_the_others_are_predicted(run, stacks, tmp_path, monkeypatch):
    real = Predictor.read

    def read(self, source, page=0):
        if page == 1:
            raise UserError("cut off")
        return real(self, source, page)

    monkeypatch.setattr(Predictor, "read", read)
    file, out = stacks / "images" / "v1.tif", tmp_path / "out"
    result = medseg.predict(run, images=[str(file)], out=str(out), pages="all", progress=False)
    assert result["failed"] == {f"{file} page 2": "cut off"} and result["written"] == 2


def test_two_pictures_of_one_name_are_refused(run, stacks, tmp_path, capsys):
    write(stacks / "images" / "v1-page02.png", scene(7)[0])
    words = ["predict", run, str(stacks / "images"), "--out", str(tmp_path / "o"), "--pages", "all"]
    assert main(words) == 2
    assert "v1-page02: is the name of an image and of a page" in capsys.readouterr().err


def checked(*words):
    return check(make(CheckConfig, {"progress": False} | dict(words)))


@pytest.mark.parametrize("by", ["flag", "yaml"])
def test_the_check_looks_at_every_page(stacks, by):
    masks = [scene(300 + i)[1] * 255 for i in range(PAGES)]
    masks[1][:] = 0
    write_stack(stacks / "masks" / "v3.tif", np.stack(masks))
    images = np.stack([scene(400 + i)[0][..., 0] for i in range(PAGES)])
    images[2] = scene(2)[0][..., 0]  # the third page of v0
    write_stack(stacks / "images" / "v4.tif", images)
    if by == "yaml":
        (stacks / "dataset.yaml").write_text("pages: all\n")
    report = checked(("data", stacks), *([("pages", "all")] if by == "flag" else []))
    assert (report["images"], report["masks"]) == (6 * PAGES, 6 * PAGES)
    found = {(each["code"], each["name"]): each["text"] for each in report["findings"]}
    assert found.keys() == {("MS009", "v3-page02"), ("MS013", "v4-page03")}
    assert found["MS009", "v3-page02"].startswith("page 2: no foreground")
    same = f"page 3: the same pixels as {stacks}/images/v0.tif page 3"
    assert found["MS013", "v4-page03"].startswith(same)
    first = checked(("data", stacks), ("pages", "first"))
    assert first["images"] == 6 and {each["code"] for each in first["findings"]} == {"MS018"}


def test_a_mask_with_another_number_of_pages_is_a_finding(stacks):
    write_stack(stacks / "masks" / "v2.tif", np.zeros((2, 72, 80), np.uint8))
    report = checked(("data", stacks), ("pages", "all"))
    (found,) = report["findings"]
    assert found["code"] == "MS002" and "holds 2 pages, its image v2.tif 3 pages" in found["text"]


def test_pages_are_not_repaired_and_it_is_said(stacks, tmp_path):
    with pytest.raises(UserError, match=r"v0\.tif holds several; give --pages first"):
        checked(("data", stacks), ("pages", "all"), ("fix", tmp_path / "fixed"))
    assert not (tmp_path / "fixed").exists()


def test_groups_name_files_and_hold_for_their_pages(stacks):
    (stacks / "groups.csv").write_text("name,group\n" + "".join(f"v{k},p\n" for k in range(6)))
    assert not checked(("data", stacks), ("pages", "all"))["findings"]
    found = open_dataset(stacks, pages="all", groups=str(stacks / "groups.csv"))
    assert {item.group for item in found.items} == {"p"} and len(found.items) == 6 * PAGES


def leaks(stacks, tmp_path, *words):
    arguments = ["data", "leaks", str(stacks), "--out", str(tmp_path / "leaks"), "--overwrite"]
    code = main([*arguments, "--no-progress", *words])
    return code, json.loads((tmp_path / "leaks" / "leaks.json").read_text())


def test_a_leak_between_later_pages_is_found(stacks, tmp_path):
    images = np.stack([scene(500 + i)[0][..., 0] for i in range(PAGES)])
    images[2] = scene(1)[0][..., 0]  # the second page of v0
    write_stack(stacks / "images" / "v5.tif", images)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("v0\nv1\n")
    (lists / "test.txt").write_text("v5\n")
    code, found = leaks(stacks, tmp_path, "--split", str(lists), "--pages", "all")
    assert code == 1 and found["parts"] == {"train": 6, "test": 3}
    pairs = (tmp_path / "leaks" / "pairs.csv").read_text()
    assert "v0-page02" in pairs and "v5-page03" in pairs and found["between"][0]["exact"] == 1
    code, found = leaks(stacks, tmp_path, "--split", str(lists))
    assert code == 0 and any("the first is used" in note for note in found["notes"])


@pytest.mark.parametrize("words", [["--scheme", "random-kfold"], ["--groups", "auto"], []])
def test_folds_name_files_whose_pages_stay_together(stacks, tmp_path, words):
    out = tmp_path / "folds"
    arguments = ["data", "split", str(stacks), "--folds", "3", "--out", str(out), "--no-progress"]
    assert main([*arguments, "--pages", "all", *words]) == 0
    rows = json.loads((out / "split.json").read_text())["folds"]
    assert sum(row["images"] for row in rows) == 6 * PAGES
    (fold,) = out.glob("*fold1")
    lists = {path.stem: path.read_text().split() for path in fold.glob("*.txt")}
    assert sorted(name for names in lists.values() for name in names) == [f"v{k}" for k in range(6)]
    found = open_dataset(stacks, split=str(fold), pages="all")
    assert len(found.parts["test"]) == PAGES * len(lists["test"])


def test_folds_read_masks_as_they_are_declared(tmp_path):
    """Class 2 is ignored: the masks that hold nothing else are empty."""
    root = tmp_path / "set"
    for i in range(8):
        image, mask = scene(i)
        write(root / "images" / f"s{i}.png", image)
        write(root / "masks" / f"s{i}.png", mask * (1 + i % 2))
    words = ["--scheme", "random-kfold", "--folds", "2", "--ignore-index", "2"]
    arguments = ["data", "split", str(root), "--out", str(tmp_path / "f"), "--no-progress", *words]
    assert main(arguments) == 0
    rows = json.loads((tmp_path / "f" / "split.json").read_text())["folds"]
    assert [row["empty"] for row in rows] == [2, 2]


def test_lists_of_pages_are_told_that_lists_name_files(run, stacks, tmp_path):
    with pytest.raises(UserError, match=r"v\d-page\d\d, \.\.\.; lists of a split name files"):
        open_dataset(stacks, split=str(tmp_path / "r" / "splits"), pages="all")

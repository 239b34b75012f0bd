"""`medseg data prepare` on small imitations of data sets as their owners distribute them."""

import json
import zipfile
from collections import Counter
from dataclasses import replace

import pytest

from cases.scenes import scene, write
from medseg.data.sources import prepare as module
from medseg.data.sources.catalog import CATALOG
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.prepare import prepare
from medseg.data.sources.rules import Rule

ISIC = (
    "ISIC2018_Task1-2_{1}_Input/ISIC_{0}.jpg"
    "|ISIC2018_Task1_{1}_GroundTruth/ISIC_{0}_segmentation.png"
)
BUSI = "Dataset_BUSI_with_GT/{1}/{1} ({0})"
WARWICK = "Warwick QU Dataset (Released 2016_07_08)/{1}_{0}"
DISTRIBUTED = {  # paths of an image and its other files, and what they are filled with
    "cvc-colondb": [("CVC-ColonDB/{0}.tiff|CVC-ColonDB/p{0}.tiff", range(1, 13))],
    "isic-2018": [
        (ISIC, [(i, "Training") for i in range(10, 16)]),
        (ISIC, [(i, "Validation") for i in range(20, 22)]),
        (ISIC, [(i, "Test") for i in range(30, 33)]),
    ],
    "busi": [
        (
            f"{BUSI}.png|{BUSI}_mask.png",
            [(i, kind) for kind in ("benign", "malignant", "normal") for i in range(1, 5)],
        ),
        (f"{BUSI}.png|{BUSI}_mask_1.png", [(2, "benign")]),
    ],
    "drive": [
        (
            "DRIVE/training/images/{0}_training.tif|DRIVE/training/1st_manual/{0}_manual1.png"
            "|DRIVE/training/mask/{0}_training_mask.png",
            range(21, 27),
        ),
        (
            "DRIVE/test/images/0{0}_test.tif|DRIVE/test/1st_manual/0{0}_manual1.png"
            "|DRIVE/test/2nd_manual/0{0}_manual2.png|DRIVE/test/mask/0{0}_test_mask.png",
            range(1, 4),
        ),
    ],
    "chase-db1": [
        (
            "Image_{0}{1}.jpg|Image_{0}{1}_1stHO.png|Image_{0}{1}_2ndHO.png",
            [(f"{i:02}", side) for i in range(1, 7) for side in "LR"],
        )
    ],
    "dsb2018": [
        (
            "{0}{0}/images/{0}{0}.png|{0}{0}/masks/a{0}b.png|{0}{0}/masks/f{0}e.png",
            ["3f", "00", "a7", "c1", "d9"],
        )
    ],
    "glas": [
        (
            f"{WARWICK}.bmp|{WARWICK}_anno.bmp",
            [(i, part) for part in ("train", "testA", "testB") for i in range(1, 4)],
        )
    ],
    "polypgen": [
        (
            "data_{1}/images_{1}/10{0}H.jpg|data_{1}/masks_{1}/10{0}H_mask.jpg",
            [(i, f"C{centre}") for centre in range(1, 7) for i in range(3)],
        )
    ],
}
PARTS = {
    "isic-2018": {"train": 6, "validation": 2, "test": 3},
    "drive": {"train": 6, "test": 3},
    "glas": {"train": 3, "test": 6},
}


def distribute(name, root):
    """Write the files of an imitation; how many images it has."""
    images = set()
    for form, values in DISTRIBUTED[name]:
        for value in values:
            image, *masks = form.format(*(value if isinstance(value, tuple) else (value,))).split(
                "|"
            )
            pixels, mask = scene(len(images))
            write(root / image, pixels)
            for each in masks:
                write(root / each, mask * 255)
            images.add(image)
    (root / "Readme.txt").write_text("cite us")
    return len(images)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("name", DISTRIBUTED)
def test_the_distributed_layout_is_prepared(tmp_path, monkeypatch, name, archive):
    source = tmp_path / "download"
    count = distribute(name, source)
    entry = replace(CATALOG[name], images=count, split=CATALOG[name].split and "random-80-10-10")
    monkeypatch.setitem(module.CATALOG, name, entry)
    if archive:
        packed = tmp_path / "download.zip"
        with zipfile.ZipFile(packed, "w") as file:
            for path in source.rglob("*"):
                file.write(path, path.relative_to(source))
        source = packed
    target = prepare(name, source, out=tmp_path / "out")
    dataset = open_dataset(name, data_root=tmp_path / "out")
    parts = {part: len(items) for part, items in dataset.parts.items()}
    assert sum(parts.values()) == count and parts == PARTS.get(name, parts)
    assert json.loads((target / "dataset.json").read_text())["name"] == entry.folder
    masks = Counter(len(item.masks) for items in dataset.parts.values() for item in items)
    assert masks == {"busi": {1: 11, 2: 1}, "dsb2018": {2: 5}}.get(name, {1: count})


def test_groups_of_eyes_and_centres(tmp_path, monkeypatch):
    for name, groups in (("chase-db1", {f"{i:02}": 2 for i in range(1, 7)}), ("polypgen", None)):
        source = tmp_path / name
        count = distribute(name, source)
        monkeypatch.setitem(
            module.CATALOG, name, replace(CATALOG[name], images=count, split="random-80-10-10")
        )
        prepare(name, source, out=tmp_path / "out")
        dataset = open_dataset(name, data_root=tmp_path / "out")
        items = [item for part in dataset.parts.values() for item in part]
        found = Counter(item.group for item in items)
        assert found == (groups or {f"C{i}": 3 for i in range(1, 7)})
    assert {item.name for item in items} >= {"C1_100H", "C6_102H"}


def test_names_that_show_their_centre_already_are_kept(tmp_path, monkeypatch):
    for index in range(4):
        pixels, mask = scene(index)
        write(tmp_path / f"flat/images/C{index % 2 + 1}_{index}.png", pixels)
        write(tmp_path / f"flat/masks/C{index % 2 + 1}_{index}.png", mask * 255)
    entry = replace(CATALOG["polypgen"], images=4, split="random-80-10-10")
    monkeypatch.setitem(module.CATALOG, "polypgen", entry)
    rule = Rule("images/*", "masks/{stem}")
    prepare("polypgen", tmp_path / "flat", out=tmp_path / "out", rule=rule)
    found = {
        item.name: item.group for item in open_dataset("polypgen", data_root=tmp_path / "out").items
    }
    assert found == {"C1_0": "C1", "C1_2": "C1", "C2_1": "C2", "C2_3": "C2"}


def test_no_centre_of_polypgen_is_divided(real):
    counts = {"C1": 256, "C2": 301, "C3": 457, "C4": 227}
    for out in counts:
        dataset = open_dataset("polypgen", data_root=real, split=f"leave-{out}-out")
        centres = {part: {item.group for item in items} for part, items in dataset.parts.items()}
        assert centres["test"] == {out} and len(dataset.parts["test"]) == counts[out]
        assert sum(map(len, centres.values())) == 4 and len(centres["validation"]) == 1
        assert sum(map(len, dataset.parts.values())) == 1241

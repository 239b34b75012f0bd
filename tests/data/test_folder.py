"""From a name or path to pairs, in every layout that users have."""

import cv2
import numpy as np
import pytest

from conftest import write_part
from medseg.data.sample import Item, size_mismatch
from medseg.data.sources.catalog import CATALOG
from medseg.data.sources.dataset import load_dataset
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.listing import list_images
from medseg.data.sources.splits import shipped
from medseg.errors import UserError


def write(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))


def names(dataset):
    return {part: [item.name for item in items] for part, items in dataset.parts.items()}


def test_the_original_layout_and_val(tmp_path):
    for part, first in (("train", 0), ("val", 10), ("test", 20)):
        write_part(tmp_path / part, 2, first)
    dataset = open_dataset(tmp_path)
    assert names(dataset) == {
        "train": ["frame000", "frame001"],
        "validation": ["frame010", "frame011"],
        "test": ["frame020", "frame021"],
    }
    with pytest.raises(UserError, match="divided already"):
        open_dataset(tmp_path, split="random-80-10-10")


@pytest.mark.parametrize("masks", ["masks", "labels", "annotations", "Ground Truth", "Masks"])
@pytest.mark.parametrize("pattern", ["{}.png", "{}_mask.png", "{}_segmentation.bmp", "p{}.tif"])
def test_masks_pair_by_stem_in_every_naming(tmp_path, masks, pattern):
    stems = [str(i) for i in range(1, 13)]
    write(tmp_path / "images", [f"{stem}.jpg" for stem in stems])
    write(tmp_path / masks, [pattern.format(stem) for stem in stems])
    dataset = open_dataset(tmp_path)
    items = [item for part in dataset.parts.values() for item in part]
    assert len(items) == 12
    assert all(item.mask.name == pattern.format(item.name) for item in items)


def test_an_image_called_p1_is_not_the_mask_of_1(tmp_path):
    write(tmp_path / "images", ["1.jpg", "p1.jpg", "2.jpg"])
    write(tmp_path / "masks", ["1.png", "p1.png", "2.png"])
    items = [item for part in open_dataset(tmp_path).parts.values() for item in part]
    assert {item.name: item.mask.name for item in items} == {
        "1": "1.png",
        "p1": "p1.png",
        "2": "2.png",
    }


def test_no_mask_and_two_masks_name_the_file(tmp_path):
    write(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    write(tmp_path / "masks", ["a.png", "c.png"])
    with pytest.raises(UserError, match=r"b\.jpg: no mask in"):
        open_dataset(tmp_path)
    write(tmp_path / "masks", ["b.png", "b.tif"])
    with pytest.raises(UserError, match=r"b\.jpg: several masks: b\.(png|tif), b\.(png|tif)"):
        open_dataset(tmp_path)


def test_masks_without_image_are_left_out_and_said(tmp_path):
    write(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    write(tmp_path / "masks", ["a.png", "b.png", "c.png", "d.png"])
    assert any("1 mask belongs to no image" in note for note in open_dataset(tmp_path).notes)


def test_two_images_of_one_name(tmp_path):
    write(tmp_path / "images", ["a.jpg", "a.png"])
    write(tmp_path / "masks", ["a.png"])
    with pytest.raises(UserError, match="has the same name"):
        open_dataset(tmp_path)


def test_hidden_and_other_files_are_left_out_and_order_is_natural(tmp_path):
    write(tmp_path, ["10.png", "9.png", "1.png", "._1.png"])
    (tmp_path / "Thumbs.db").write_text("x")
    assert [path.name for path in list_images(tmp_path)] == ["1.png", "9.png", "10.png"]


def test_own_lists_with_paths_comments_and_mistakes(tmp_path):
    write_part(tmp_path / "set", 6)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("# mine\nimages/frame000.png\nframe001.jpg\n\nframe002\n")
    (lists / "val.txt").write_text("frame003\n")
    dataset = open_dataset(tmp_path / "set", split=str(lists))
    assert names(dataset) == {
        "train": ["frame000", "frame001", "frame002"],
        "validation": ["frame003"],
    }
    assert any("2 of 6 images are in no list" in note for note in dataset.notes)
    (lists / "test.txt").write_text("frame001\n")
    with pytest.raises(UserError, match=r"test\.txt: frame001 is in train\.txt already"):
        open_dataset(tmp_path / "set", split=str(lists))
    (lists / "test.txt").write_text("frame009\n")
    with pytest.raises(UserError, match=r"1 of the listed images are not in .*, such as frame009"):
        open_dataset(tmp_path / "set", split=str(lists))


def test_unknown_schemes_get_a_hint(tmp_path):
    write_part(tmp_path / "Kvasir-SEG", 4)
    with pytest.raises(UserError, match="did you mean official-880-120"):
        open_dataset(tmp_path / "Kvasir-SEG", split="oficial-880-120")


def test_a_known_name_says_where_it_looked(tmp_path):
    with pytest.raises(UserError, match=r"not found as .*Kvasir-SEG.*medseg data list"):
        open_dataset("kvasir-seg", data_root=tmp_path)
    with pytest.raises(UserError, match="did you mean kvasir-seg"):
        open_dataset("kvasirseg", data_root=tmp_path)
    write_part(tmp_path / "PolypDataset" / "Kvasir-SEG" / "train", 3)
    assert open_dataset("kvasir-seg", data_root=tmp_path).name == "Kvasir-SEG"


def test_groups_come_from_a_file_or_from_the_catalog(tmp_path):
    write(tmp_path / "CVC-ClinicDB" / "images", ["25.png", "26.png", "612.png"])
    write(tmp_path / "CVC-ClinicDB" / "masks", ["25.png", "26.png", "612.png"])
    found = {
        item.name: item.group
        for part in open_dataset(tmp_path / "CVC-ClinicDB").parts.values()
        for item in part
    }
    assert found == {"25": "1", "26": "2", "612": "29"}
    (tmp_path / "CVC-ClinicDB" / "groups.csv").write_text("name,group\n25,patient A\n")
    found = {
        item.name: item.group
        for part in open_dataset(tmp_path / "CVC-ClinicDB").parts.values()
        for item in part
    }
    assert found["25"] == "patient A"


def test_validation_is_held_out_of_train_where_a_split_has_none(tmp_path):
    write_part(tmp_path / "train", 10)
    write_part(tmp_path / "test", 2, 50)
    dataset = load_dataset(tmp_path, data_root=tmp_path, split=None, hold_out=0.2)
    assert [len(dataset.parts[part]) for part in ("train", "validation", "test")] == [8, 2, 2]
    assert any("2 of 10 training images are held out" in note for note in dataset.notes)
    assert names(dataset) == names(
        load_dataset(tmp_path, data_root=tmp_path, split=None, hold_out=0.2)
    )


def test_a_description_gives_the_name_and_the_classes(tmp_path):
    write_part(tmp_path / "set", 6)
    assert open_dataset(tmp_path / "set").classes == ()
    (tmp_path / "set" / "dataset.yaml").write_text("name: Clinic\nclasses: [rest, polyp]\n")
    dataset = open_dataset(tmp_path / "set")
    assert (dataset.name, dataset.classes) == ("Clinic", ("rest", "polyp"))


def test_size_mismatch_tells_a_rotation():
    from pathlib import Path

    item = Item("a", Path("a.jpg"), (Path("a.png"),))
    assert "EXIF rotation" in str(size_mismatch(item, (40, 60), (60, 40)))
    assert "is 20x10 pixels, its image a.jpg 60x40" in str(size_mismatch(item, (40, 60), (10, 20)))


@pytest.mark.parametrize(
    ("folder", "scheme", "counts"),
    [
        ("Kvasir-SEG", "official-880-120", {"train": 880, "validation": 120}),
        ("Kvasir-SEG", "effisegnet-800-100-100", {"train": 800, "validation": 100, "test": 100}),
        ("Kvasir-SEG", "pranet-900-100", {"train": 900, "test": 100}),
        ("CVC-ClinicDB", "pranet-550-62", {"train": 550, "test": 62}),
        (
            "CVC-ClinicDB",
            "endoscene-patient-disjoint",
            {"train": 367, "validation": 123, "test": 122},
        ),
        ("CVC-ColonDB", "endoscene-patient-disjoint", {"train": 180, "validation": 60, "test": 60}),
        ("CVC-ColonDB", "pranet-test-only", {"test": 380}),
    ],
)
def test_shipped_splits_fit_the_real_sets(real, folder, scheme, counts):
    dataset = open_dataset(real / folder, split=scheme)
    assert {part: len(items) for part, items in dataset.parts.items()} == counts
    everything = [item.name for items in dataset.parts.values() for item in items]
    assert len(set(everything)) == len(everything)


def test_every_scheme_of_the_catalog_is_shipped():
    for entry in CATALOG.values():
        assert not entry.split or entry.split in shipped(entry.folder)
    assert len(shipped("Kvasir-SEG")) == 4 and shipped("nothing") == []

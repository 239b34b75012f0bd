"""Data sets as distributed become the layout, byte for byte."""

import json
import tarfile
import zipfile
from dataclasses import replace

import pytest

from conftest import write_part
from medseg.data.sources import prepare as module
from medseg.data.sources.catalog import CATALOG, catalog_table
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.prepare import prepare
from medseg.errors import UserError


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Kvasir-SEG as if published with 10 images, and a folder as distributed."""
    monkeypatch.setitem(
        module.CATALOG,
        "kvasir-seg",
        replace(CATALOG["kvasir-seg"], images=10, split="random-80-10-10"),
    )
    write_part(tmp_path / "download" / "Kvasir-SEG", 10)
    return tmp_path / "download"


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_folder_and_archives(small, tmp_path, kind):
    source = small
    if kind == "zip":
        source = tmp_path / "kvasir-seg.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in small.rglob("*"):
                archive.write(path, path.relative_to(small))
    elif kind == "tar.gz":
        source = tmp_path / "kvasir-seg.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(small / "Kvasir-SEG", "Kvasir-SEG")
    before = content(small)
    target = prepare("kvasir-seg", source, out=tmp_path / "out")
    assert target == tmp_path / "out" / "PolypDataset" / "Kvasir-SEG"
    assert content(small) == before
    images = {path.name: path.read_bytes() for path in target.rglob("images/*")}
    assert images == {
        path.name: path.read_bytes() for path in (small / "Kvasir-SEG" / "images").iterdir()
    }
    assert json.loads((target / "dataset.json").read_text())["parts"] == {
        "train": 8,
        "validation": 1,
        "test": 1,
    }
    dataset = open_dataset("kvasir-seg", data_root=tmp_path / "out")
    assert dataset.split == "random-80-10-10-seed0" and len(dataset.parts["train"]) == 8
    assert open_dataset("kvasir-seg", data_root=tmp_path / "out", split=dataset.split) == dataset
    assert [path.name for path in target.parent.iterdir()] == [
        "Kvasir-SEG"
    ]  # nothing temporary stays


def test_a_wrong_count_is_refused_and_leaves_nothing(small, tmp_path):
    next((small / "Kvasir-SEG" / "images").iterdir()).unlink()
    with pytest.raises(
        UserError, match="has 9 images with masks, Kvasir-SEG was published with 10"
    ):
        prepare("kvasir-seg", small, out=tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_the_target_is_never_overwritten(small, tmp_path):
    prepare("kvasir-seg", small, out=tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(UserError, match="exists already"):
        prepare("kvasir-seg", small, out=tmp_path / "out")
    assert content(tmp_path / "out") == before


def test_an_archive_cannot_write_outside(small, tmp_path):
    source = tmp_path / "evil.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("../../evil.txt", "x")
    with pytest.raises(UserError):
        prepare("kvasir-seg", source, out=tmp_path / "a" / "b" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_wrong_sources(tmp_path, small):
    with pytest.raises(UserError, match="no such archive or folder"):
        prepare("kvasir-seg", tmp_path / "none.zip", out=tmp_path / "o")
    (tmp_path / "a.rar").write_bytes(b"Rar!....")
    with pytest.raises(UserError, match="not a zip or tar archive"):
        prepare("kvasir-seg", tmp_path / "a.rar", out=tmp_path / "o")
    with pytest.raises(UserError, match="did you mean kvasir-seg"):
        prepare("kvasir", small, out=tmp_path / "o")
    with pytest.raises(UserError, match="medseg data synthesize"):
        prepare("synthetic", small, out=tmp_path / "o")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="expected the folders images and masks"):
        prepare("kvasir-seg", tmp_path / "nothing", out=tmp_path / "o")


def test_every_data_set_is_described():
    for row in catalog_table():
        assert row["licence"] and row["download"]
        assert row["name"] == "synthetic" or (
            row["homepage"].startswith("http") and row["citation"] and row["images"]
        )


@pytest.mark.slow
def test_real_kvasir(real, tmp_path):
    target = prepare("kvasir-seg", real / "Kvasir-SEG", out=tmp_path)
    assert {
        p.name: sum(1 for _ in (p / "images").iterdir()) for p in target.iterdir() if p.is_dir()
    } == {"train": 800, "validation": 100, "test": 100}

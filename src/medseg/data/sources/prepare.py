"""A data set as distributed becomes PolypDataset/NAME/{train,validation,test}/{images,masks}, byte
for byte.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import medseg
from medseg.data.sample import Dataset
from medseg.data.sources.catalog import CATALOG
from medseg.data.sources.folder import IMAGE_FOLDERS, MASK_FOLDERS, child, divide, list_images, pair
from medseg.errors import UserError, choose
from medseg.files import new_folder


def prepare(
    name: str,
    source: Path,
    *,
    out: Path,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Copy a data set into the layout and return its folder, out/PolypDataset/NAME.

    `source` is an archive (zip, tar) or folder, which is only read; `split` defaults to the
    recommended scheme. Raises `UserError` when the images are not as many as published, when one
    has no mask, or when the folder is in use.
    """
    entry = CATALOG[choose("data set", name, CATALOG)]
    if name == "synthetic":
        raise UserError(
            "synthetic: is generated, not prepared; use 'medseg data synthesize DIR/synthetic'"
        )
    if not Path(source).exists():
        raise UserError(
            f"{source}: no such archive or folder; 'medseg data list' says what to download"
        )
    target = new_folder(
        Path(out) / "PolypDataset" / entry.folder, "--out", "choose another, or remove it first"
    )
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=target.parent) as work:
        root = _unpacked(Path(source), Path(work) / "source")
        items, notes = pair(_pair_folder(root))
        if len(items) != entry.images:
            raise UserError(
                f"{source}: has {len(items)} images with masks, {entry.folder} was published with"
                f" {entry.images}; download it again and give it whole"
            )
        dataset = divide(root, entry.folder, entry, items, notes, split or entry.split)
        built = Path(work) / "built"
        _copy(dataset, built, progress)
        about = {
            "name": entry.folder,
            "split": dataset.split,
            "source": Path(source).name,
            "parts": {part: len(part_items) for part, part_items in dataset.parts.items()},
            "medseg": medseg.__version__,
        }
        (built / "dataset.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        target.rmdir()  # empty: new_folder has seen to that
        built.rename(target)
    return target


def _copy(dataset: Dataset, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    total = sum(map(len, dataset.parts.values()))
    done = 0
    for part, items in dataset.parts.items():
        (folder / part / "images").mkdir(parents=True)
        (folder / part / "masks").mkdir()
        for item in items:
            shutil.copyfile(
                item.image, folder / part / "images" / f"{item.name}{item.image.suffix}"
            )
            shutil.copyfile(item.mask, folder / part / "masks" / f"{item.name}{item.mask.suffix}")
            done += 1
            if progress:
                progress(done, total)
    groups = {
        item.name: item.group for items in dataset.parts.values() for item in items if item.group
    }
    if groups:
        lines = "".join(f"{name},{group}\n" for name, group in groups.items())
        (folder / "groups.csv").write_text("name,group\n" + lines, encoding="utf-8")


def _unpacked(source: Path, folder: Path) -> Path:
    """The folder itself, or the archive's content in a temporary one. Members that lead outside are
    refused.
    """
    if source.is_dir():
        return source
    folder.mkdir()
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                archive.extractall(folder)  # drops leading slashes and ".." by itself
        elif tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                archive.extractall(folder, filter="data")
        else:
            raise UserError(f"{source}: not a zip or tar archive; unpack it and give the folder")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(
            f"{source}: cannot be unpacked ({error}); download it again, or unpack it and give the"
            " folder"
        ) from None
    return folder


def _pair_folder(root: Path) -> Path:
    """The first folder, at any depth, that has an images and a masks folder with images in them."""
    for folder in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
        images, masks = child(folder, IMAGE_FOLDERS), child(folder, MASK_FOLDERS)
        if images and masks and list_images(images) and list_images(masks):
            return folder
    raise UserError(
        "found no folder with images (or Original) and masks (or Ground Truth) side by side; give"
        " the folder or archive as distributed"
    )

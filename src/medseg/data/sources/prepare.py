"""A data set as distributed becomes PolypDataset/NAME/PART/{images,masks}, byte for byte."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from medseg import console
from medseg.config import PrepareConfig
from medseg.data.sample import Dataset
from medseg.data.sources.catalog import CATALOG, Entry
from medseg.data.sources.folder import divide
from medseg.data.sources.groups import COLUMNS, TABLE, with_groups
from medseg.data.sources.listing import child, list_images
from medseg.data.sources.pairing import IMAGE_FOLDERS, MASK_FOLDERS, pair
from medseg.errors import UserError, choose
from medseg.files import folder_or_nothing, new_folder, write_csv
from medseg.version import __version__

Progress = Callable[[int, int], None]


def prepare(
    name: str,
    source: Path,
    *,
    out: Path,
    split: str | None = None,
    progress: Progress | None = None,
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
    target = Path(out) / "PolypDataset" / entry.folder
    with folder_or_nothing(target, "--out"):
        new_folder(target, "--out", "choose another, or remove it first")
        with tempfile.TemporaryDirectory(prefix=".preparing-", dir=target.parent) as work:
            built = _build(entry, Path(source), Path(work), split, progress)
            target.rmdir()  # empty: new_folder has seen to that
            built.rename(target)
    return target


def _build(
    entry: Entry, source: Path, work: Path, split: str | None, progress: Progress | None
) -> Path:
    """The data set in the layout, in a folder below `work`."""
    root = _unpacked(source, work / "source")
    folder = _pair_folder(root)
    items, notes = pair(folder)
    items, _ = with_groups(items, folder)
    if len(items) != entry.images:
        raise UserError(
            f"{source}: has {len(items)} images with masks, {entry.folder} was published with"
            f" {entry.images}; download it again and give it whole"
        )
    dataset = divide(root, entry.folder, entry, items, notes, split or entry.split)
    built = work / "built"
    _copy(dataset, built, progress)
    about = {
        "name": entry.folder,
        "split": dataset.split,
        "source": source.name,
        "parts": {part: len(part_items) for part, part_items in dataset.parts.items()},
        "medseg": __version__,
    }
    (built / "dataset.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    return built


def _copy(dataset: Dataset, folder: Path, progress: Progress | None) -> None:
    """Images, masks and groups.csv, byte for byte."""
    total = sum(map(len, dataset.parts.values()))
    groups: dict[str, str] = {}
    done = 0
    for part, items in dataset.parts.items():
        images, masks = folder / part / "images", folder / part / "masks"
        images.mkdir(parents=True)
        masks.mkdir()
        for item in items:
            shutil.copyfile(item.image, images / f"{item.name}{item.image.suffix}")
            for number, mask in enumerate(item.masks):
                ending = f"_mask_{number}" if number else ""
                shutil.copyfile(mask, masks / f"{item.name}{ending}{mask.suffix}")
            if item.group:
                groups[item.name] = item.group
            done += 1
            if progress:
                progress(done, total)
    if groups:
        write_csv(folder / TABLE, [dict(zip(COLUMNS, row, strict=True)) for row in groups.items()])


def _unpacked(source: Path, folder: Path) -> Path:
    """The folder itself, or the archive's content in `folder`; members outside are refused."""
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


def run_prepare(config: PrepareConfig) -> Path:
    """`medseg data prepare`."""
    with console.progress("prepare", show=config.progress) as advance:
        return prepare(
            config.name, config.source, out=config.out, split=config.split, progress=advance
        )

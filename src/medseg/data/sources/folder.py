"""From a name or a path to the images and masks of each part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.data.sample import Dataset, Item
from medseg.data.sources.catalog import CATALOG, Entry, sequence_of
from medseg.data.sources.groups import read_groups
from medseg.data.sources.splits import (
    PARTS,
    random_split,
    read_split,
    shipped,
    shipped_folder,
    unknown_scheme,
)
from medseg.errors import UserError, nearest

IMAGE_FOLDERS = ("images", "image", "original")
MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "annotations",
    "ground truth",
    "ground_truth",
    "groundtruth",
)
PART_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
DEFAULT_SPLIT = "random-80-10-10"


def open_dataset(
    data: str | Path, *, data_root: Path = Path("data"), split: str | None = None
) -> Dataset:
    """The data set that `data` (a known name under `data_root`, or a folder) stands for, divided by
    `split`.

    Raises `UserError`, naming the file, for missing or empty folders, images with no mask or with
    two, and lists that do not fit the images.
    """
    root, entry = locate(data, data_root)
    name = entry.folder if entry else root.resolve().name
    parts = part_folders(root)
    if parts:
        return _divided(root, name, parts, split)
    items, notes = pair(root)
    return divide(root, name, entry, items, notes, split)


def pair(root: Path) -> tuple[list[Item], list[str]]:
    """The images of a folder that holds an images and a masks folder, each with its one mask; and
    notes for the user.
    """
    images, masks = child(root, IMAGE_FOLDERS), child(root, MASK_FOLDERS)
    if images is None or masks is None:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
        raise UserError(
            f"{root}: expected the folders images and masks, or train, validation and test; found"
            f" {found}"
        )
    files = list_images(images)
    if not files:
        raise UserError(
            f"{images}: no image in this folder; expected JPEG, PNG, TIFF, BMP, WebP or GIF files"
        )
    stems: dict[str, Path] = {}
    for file in files:
        if file.stem in stems:
            raise UserError(
                f"{file}: {stems[file.stem].name} has the same name; names without extension must"
                " differ"
            )
        stems[file.stem] = file
    mask_files = list_images(masks)
    groups = _groups(root)
    items = []
    for file, candidates in match(files, mask_files):
        if len(candidates) != 1:
            raise UserError(f"{file}: {mispaired(file, candidates, masks)}")
        items.append(Item(file.stem, file, candidates[0], groups.get(file.stem)))
    alone = len(mask_files) - len(items)
    return items, [f"{masks}: {alone} masks belong to no image and are left out"] if alone else []


def match(images: Iterable[Path], masks: Iterable[Path]) -> list[tuple[Path, list[Path]]]:
    """Each image with the masks whose names fit it: exactly one where all is well."""
    images = list(images)
    stems = {file.stem for file in images}
    by_stem: dict[str, list[Path]] = {}
    for mask in masks:
        by_stem.setdefault(mask.stem, []).append(mask)
    return [
        (
            file,
            [
                mask
                for stem in _mask_stems(file.stem)
                for mask in by_stem.get(stem, [])
                if stem == file.stem or stem not in stems
            ],
        )
        for file in images
    ]


def mispaired(image: Path, candidates: Sequence[Path], folder: Path) -> str:
    """What to say of an image with no mask in `folder`, or with several."""
    what = (
        "several masks: " + ", ".join(mask.name for mask in candidates) if candidates else "no mask"
    )
    return (
        f"{what} in {folder}; expected exactly one named {image.stem}, {image.stem}_mask,"
        f" {image.stem}_segmentation or p{image.stem}"
    )


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder by their extension, hidden ones left out, in natural order (2
    before 10).
    """
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    ]
    return sorted(files, key=lambda path: natural(path.name))


def list_maps(folder: Path) -> list[Path]:
    """The image files of a folder, and its arrays (.npy), in natural order: predictions of any
    tool.
    """
    arrays = [path for path in folder.glob("*.npy") if not path.name.startswith(".")]
    return sorted([*list_images(folder), *arrays], key=lambda path: natural(path.name))


def natural(name: str) -> list[tuple[int, int | str]]:
    """A sort key that puts 2 before 10."""
    return [
        (0, int(part)) if part.isdigit() else (1, part.lower())
        for part in re.split(r"(\d+)", name)
        if part
    ]


def size_mismatch(item: Item, image: tuple[int, ...], mask: tuple[int, ...]) -> UserError:
    """What to say when an image and its mask have different (height, width)."""
    turned = (
        ": the mask is that of the image before its EXIF rotation, turn it"
        if tuple(mask) == tuple(image)[::-1]
        else "; give the mask of this very image"
    )
    return UserError(
        f"{item.mask}: is {mask[1]}x{mask[0]} pixels, its image {item.image.name}"
        f" {image[1]}x{image[0]}{turned}"
    )


def part_folders(root: Path) -> dict[str, Path]:
    """The folders of the parts of a data set that is divided on disk; none where images lie at the
    top.
    """
    if child(root, IMAGE_FOLDERS):
        return {}
    return {part: folder for part, names in PART_FOLDERS.items() if (folder := child(root, names))}


def locate(data: str | Path, data_root: Path) -> tuple[Path, Entry | None]:
    """The folder that `data` stands for, and its entry in the catalog where it has one."""
    entry = CATALOG.get(str(data))
    if entry:
        places = [
            data_root / entry.folder,
            data_root / "PolypDataset" / entry.folder,
            data_root / str(data),
        ]
        root = next((place for place in places if place.is_dir()), None)
        if root is None:
            raise UserError(
                f"--data {data}: not found as {' or '.join(map(str, places))}; 'medseg data list'"
                " says where to get it, --data-root says where it lies"
            )
        return root, entry
    root = Path(data).expanduser()
    if not root.exists():
        hint = nearest(str(data), CATALOG) if "/" not in str(data) else ""
        raise UserError(
            f"--data {data}: no such folder{hint or ';'} expected a folder or one of:"
            f" {', '.join(CATALOG)}"
        )
    if not root.is_dir():
        raise UserError(
            f"--data {data}: is a file; expected a folder (medseg data prepare unpacks archives)"
        )
    return root, next(
        (each for each in CATALOG.values() if each.folder.lower() == root.resolve().name.lower()),
        None,
    )


def child(root: Path, names: Iterable[str]) -> Path | None:
    """The folder below `root` with one of the names, in any case."""
    below = (
        {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
        if root.is_dir()
        else {}
    )
    return next((below[name] for name in names if name in below), None)


def _mask_stems(stem: str) -> tuple[str, ...]:
    return stem, f"{stem}_mask", f"{stem}_segmentation", f"p{stem}"


def _divided(root: Path, name: str, parts: dict[str, Path], split: str | None) -> Dataset:
    """A folder that is divided already."""
    about = _about(root)
    if split is not None and split != about.get("split"):
        raise UserError(
            f"--split {split}: {root} is divided already"
            f" ({about.get('split') or ', '.join(parts)}); leave --split out, or give a folder with"
            " images and masks undivided"
        )
    found: dict[str, tuple[Item, ...]] = {}
    notes: list[str] = []
    for part, folder in parts.items():
        if child(folder, IMAGE_FOLDERS) is None and not any(folder.iterdir()):
            notes.append(f"{folder} is empty and left out")
            continue
        items, more = pair(folder)
        groups = _groups(root)
        found[part] = tuple(
            replace(item, group=item.group or groups.get(item.name)) for item in items
        )
        notes += more
    names = [item.name for items in found.values() for item in items]
    if len(set(names)) < len(names):
        notes.append(
            f"{len(names) - len(set(names))} names stand in two parts: the same images would be a"
            " leak"
        )
        found = {
            part: tuple(
                replace(item, name=f"{part}/{item.name}") if names.count(item.name) > 1 else item
                for item in items
            )
            for part, items in found.items()
        }
    return Dataset(about.get("name", name), about.get("split", "as-is"), found, tuple(notes))


def divide(
    root: Path,
    name: str,
    entry: Entry | None,
    items: Sequence[Item],
    notes: list[str],
    split: str | None,
) -> Dataset:
    """Undivided images by lists, shipped or the user's own, or at random."""
    by_name = {item.name: item for item in items}
    if split is None:
        advice = (
            f"; published: {', '.join(shipped(entry.folder))}"
            if entry and shipped(entry.folder)
            else ""
        )
        notes.append(
            f"no --split given: using {DEFAULT_SPLIT} (seed 0), which leaks where images come from"
            f" videos{advice}"
        )
    lists, scheme, where = lists_of(split or DEFAULT_SPLIT, entry, list(by_name))
    missing = [each for names in lists.values() for each in names if each not in by_name]
    if missing:
        raise UserError(
            f"{where}: {len(missing)} of the listed images are not in {root}, such as {missing[0]}"
        )
    listed = sum(map(len, lists.values()))
    if listed < len(items):
        notes.append(
            f"{len(items) - listed} of {len(items)} images are in no list of {scheme} and left out"
        )
    groups = (
        _groups(Path(split)) if split and Path(split).is_dir() else {}
    )  # as `medseg data split` writes beside the lists
    parts = {
        part: tuple(
            with_group(replace(by_name[each], group=groups.get(each, by_name[each].group)), entry)
            for each in lists[part]
        )
        for part in PARTS
        if lists.get(part)
    }
    if groups:  # those that the lists were made by
        parts = {
            part: tuple(replace(item, group=groups.get(item.name, item.group)) for item in found)
            for part, found in parts.items()
        }
    return Dataset(name, scheme, parts, tuple(notes))


def lists_of(
    scheme: str, entry: Entry | None, names: Sequence[str]
) -> tuple[dict[str, list[str]], str, str]:
    """The names by part of a scheme or a folder of lists, the scheme's full name, and how the user
    gave it.
    """
    if Path(scheme).is_dir():
        return read_split(Path(scheme)), Path(scheme).name, f"--split {scheme}"
    if scheme.startswith("random-"):
        return (
            random_split(names, scheme),
            scheme if "-seed" in scheme else f"{scheme}-seed0",
            f"--split {scheme}",
        )
    dataset = entry.folder if entry else _dataset_of(scheme, names)
    if dataset is None or scheme not in shipped(dataset):
        raise unknown_scheme(scheme, dataset)
    return read_split(shipped_folder() / dataset / scheme), scheme, f"--split {scheme}"


def with_group(item: Item, entry: Entry | None) -> Item:
    """The item with its video sequence, where the catalog knows it and no groups.csv says
    otherwise.
    """
    return item if item.group or not entry else replace(item, group=sequence_of(entry, item.name))


def _dataset_of(scheme: str, names: Iterable[str]) -> str | None:
    """The one data set whose lists of this scheme name only images that are here."""
    names = set(names)
    fitting = [
        path.name
        for path in sorted(shipped_folder().iterdir())
        if (path / scheme).is_dir()
        and all(set(part) <= names for part in read_split(path / scheme).values())
    ]
    return fitting[0] if len(fitting) == 1 else None


def _groups(root: Path) -> dict[str, str]:
    file = root / "groups.csv"
    return read_groups(file) if file.exists() else {}


def _about(root: Path) -> dict:
    """What `medseg data prepare` or `synthesize` wrote about a divided folder."""
    try:
        about = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        return about if isinstance(about, dict) else {}
    except (OSError, ValueError):
        return {}

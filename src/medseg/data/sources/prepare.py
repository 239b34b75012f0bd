"""A data set as distributed becomes PolypDataset/NAME/PART/{images,masks}, byte for byte."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg import console
from medseg.config import PrepareConfig
from medseg.data.sample import Dataset, Item
from medseg.data.sources.catalog import CATALOG, Entry, group_of
from medseg.data.sources.division import divide, with_group
from medseg.data.sources.groups import TABLE, with_groups, write_groups
from medseg.data.sources.names import name_of
from medseg.data.sources.pairing import Pairing, find_pairs
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import PARTS
from medseg.errors import UserError, choose
from medseg.files import folder_or_nothing, new_folder
from medseg.version import __version__

Progress = Callable[[int, int], None]
NAMES = Rule()  # what the names show


def prepare(
    name: str,
    source: Path,
    *,
    out: Path,
    split: str | None = None,
    rule: Rule = NAMES,
    progress: Progress | None = None,
) -> Path:
    """Copy a data set into the layout and return its folder, out/PolypDataset/NAME.

    `source` is an archive (zip, tar) or folder, which is only read; `split` defaults to the
    recommended scheme, `rule` to the pairing as published. Raises `UserError` when the images are
    not as many as published, when one has no mask, or when the folder is in use.
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
            built = _build(entry, Path(source), Path(work), split, rule, progress)
            target.rmdir()  # empty: new_folder has seen to that
            built.rename(target)
    return target


def _build(
    entry: Entry,
    source: Path,
    work: Path,
    split: str | None,
    rule: Rule,
    progress: Progress | None,
) -> Path:
    """The data set in the layout, in a folder below `work`."""
    root = _unpacked(source, work / "source")
    pairing = find_pairs(root, rule.over(Rule(*entry.pattern) if entry.pattern else NAMES))
    items = [_renamed(entry, item) for part in pairing.items().values() for item in part]
    items, _ = with_groups(items, root)
    if entry.images and len(items) not in (entry.images, *entry.fewer):
        fewer = "".join(f" or {count}" for count in entry.fewer)
        raise UserError(
            f"{source}: has {len(items)} images with masks, {entry.folder} was published with"
            f" {entry.images}{fewer}; download it again and give it whole"
        )
    dataset = _divided(root, entry, pairing, items, split)
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


def _renamed(entry: Entry, item: Item) -> Item:
    """The item by the name that the catalog gives it, if any, and with its group."""
    name = item.name
    if entry.naming and item.group and not group_of(entry, name):
        name = entry.naming.format(group=item.group, stem=name_of(item.image))
        item = replace(item, group=None)
    return with_group(replace(item, name=name), entry)


def _divided(
    root: Path, entry: Entry, pairing: Pairing, items: Sequence[Item], split: str | None
) -> Dataset:
    """The parts of a split, else those that the data set is published with, else all for training.

    The latter are kept undivided.
    """
    scheme = split or entry.split
    if scheme:
        return divide(root, entry.folder, entry, items, [], scheme)
    parts: dict[str, list[Item]] = {}
    for pair, item in zip(pairing.pairs, items, strict=True):
        parts.setdefault(pair.part, []).append(item)
    if len(parts) < 2:  # nothing to divide by: images/ and masks/
        parts = {"": list(items)}
    kept = {part: tuple(parts[part]) for part in ("", *PARTS) if part in parts}
    return Dataset(entry.folder, "published" if len(kept) > 1 else "", kept)


def _copy(dataset: Dataset, folder: Path, progress: Progress | None) -> None:
    """Images, masks and groups.csv, byte for byte; further masks of an image get a number."""
    items = dataset.items
    several = any(len(item.masks) > 1 for item in items)
    done = 0
    for part, of_part in dataset.parts.items():
        images, masks = folder / part / "images", folder / part / "masks"
        images.mkdir(parents=True)
        masks.mkdir()
        for item in of_part:
            name = item.name.replace("/", "_")
            shutil.copyfile(item.image, images / f"{name}{item.image.suffix}")
            for number, mask in enumerate(item.masks):
                ending = f"_mask_{number}" if number else "_mask" * several
                shutil.copyfile(mask, masks / f"{name}{ending}{mask.suffix}")
            done += 1
            if progress:
                progress(done, len(items))
    write_groups(folder / TABLE, ((item.name.replace("/", "_"), item.group) for item in items))


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


def run_prepare(config: PrepareConfig) -> Path:
    """`medseg data prepare`."""
    with console.progress("prepare", show=config.progress) as advance:
        return prepare(
            config.name,
            config.source,
            out=config.out,
            split=config.split,
            rule=Rule(config.images, config.masks),
            progress=advance,
        )

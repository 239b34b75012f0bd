"""`medseg data convert`: annotations of a tool become images, masks and dataset.yaml."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import yaml
from loguru import logger

from medseg.annotations.classes import choose_classes, renamed
from medseg.annotations.drawing import Policy, draw
from medseg.annotations.formats import READERS
from medseg.annotations.formats.options import Reading
from medseg.annotations.images import drawn_on_stored, look
from medseg.annotations.remarks import check_drawn, row_of, say, say_turned
from medseg.annotations.shapes import Annotations, Picture
from medseg.annotations.tree import Tree, open_tree, some
from medseg.config import ConvertConfig
from medseg.console import progress
from medseg.data.decode import upright
from medseg.data.masks import IGNORED
from medseg.errors import UserError, choose, counted
from medseg.files import folder_or_nothing, new_folder, write_csv, write_text
from medseg.hardware import cores

OURS = {"images", "masks", "train", "validation", "test", "dataset.yaml", "convert.csv"}


def convert(config: ConvertConfig) -> dict[str, Any]:
    """Write DIR/images, DIR/masks, dataset.yaml and convert.csv; or DIR/PART/... by parts.

    Raises `UserError`, naming the file, for what cannot be read or is not decided by an option;
    then nothing is written.
    """
    _check_places(config.source, config.out)
    tree = open_tree(config.source, config.images, config.out)
    name = config.from_ or recognise(tree, bool(config.colours))
    reading = Reading(config.boxes, config.attribute, config.colours)
    annotations = renamed(READERS[name].read(tree, reading), config.rename)
    annotations = _complete(annotations, tree, config)
    logger.info(f"format: {READERS[name].ABOUT}, {len(annotations.pictures)} images")
    classes, indices, notes = choose_classes(annotations, config)
    logger.info(f"classes: {', '.join(classes)}")
    for note in (*annotations.notes, *notes):
        logger.info(note)
    centres = {"format": annotations.centres}.get(
        config.coordinates, config.coordinates == "centres"
    )
    policy = Policy(indices, config.overlap, config.crowd, centres)
    with _replacing(config.out, config.overwrite) as folder:
        rows = _write(folder, annotations, policy, classes, config)
        check_drawn(rows)
        write_csv(folder / "convert.csv", rows)
        write_text(folder / "dataset.yaml", _description(config, classes, rows))
    say(rows)
    return {
        "format": name,
        "folder": str(config.out),
        "images": len(rows),
        "objects": sum(row["objects"] for row in rows),
        "classes": list(classes),
    }


def show(result: dict[str, Any], config: ConvertConfig) -> None:
    """Print what was written."""
    print(f"{result['folder']}: {result['images']} images, {result['objects']} objects")


def recognise(tree: Tree, with_colours: bool = False) -> str:
    """The one format whose files lie there; `UserError` for none and for several."""
    found = [name for name, reader in READERS.items() if _fits(reader, tree)]
    if with_colours:
        found = ["voc"] if "voc" in found else ["colours"]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{tree.given}: can be {' or '.join(found)}; say which by --from")
    raise UserError(
        f"{tree.given}: no annotations that are known; expected one of"
        f" {', '.join(reader.ABOUT for reader in READERS.values())}; --from says which"
    )


def _fits(reader: ModuleType, tree: Tree) -> bool:
    try:
        return reader.recognises(tree)
    except (UserError, OSError):  # a file that cannot be read belongs to no format
        return False


def _check_places(source: Path, out: Path) -> None:
    source, out = source.resolve(), out.resolve()
    if source == out or source.is_relative_to(out):
        raise UserError(f"--out {out}: holds the source; choose another folder")


def _complete(annotations: Annotations, tree: Tree, config: ConvertConfig) -> Annotations:
    """The annotations of images that are there, and of images without any if they count."""
    if annotations.missing and config.missing == "refuse":
        raise UserError(
            f"{len(annotations.missing)} images are annotated and not in"
            f" {config.images or tree.root}: {some(annotations.missing)}; give their folder by"
            " --images, or --missing skip"
        )
    if annotations.missing:
        logger.info(f"left out, as they are not there: {some(annotations.missing)}")
    pictures = list(annotations.pictures)
    sources: dict[Path, Path] = {}
    for picture in pictures:
        if picture.image in sources:
            raise UserError(
                f"{picture.image}: is annotated twice, in {sources[picture.image]} and"
                f" {picture.source}; give one of them as SOURCE, with --images"
            )
        sources[picture.image] = picture.source
    parts = {picture.image.parent: picture.part for picture in pictures}
    pictures += [
        Picture(image, image, part=parts[image.parent])
        for image in tree.images
        if image.parent in parts and image not in sources
    ]
    bare = [each for each in pictures if not each.shapes and each.classes is None]
    if bare and config.unannotated == "refuse":
        raise UserError(
            f"{len(bare)} of {len(pictures)} images without annotation:"
            f" {some([each.image.name for each in bare])}; say whether they show nothing"
            " (--unannotated negative) or were forgotten (--unannotated skip)"
        )
    if bare:
        what = {"negative": "taken as empty", "skip": "left out"}[config.unannotated]
        names = some([each.image.name for each in bare])
        images = counted(len(bare), "image", "images")
        logger.info(f"without annotation, {what}: {images}, {names}")
    if config.unannotated == "skip":
        pictures = [each for each in pictures if each.shapes or each.classes is not None]
    if not pictures:
        raise UserError(f"{tree.given}: no annotated image")
    return replace(annotations, pictures=tuple(pictures))


@contextmanager
def _replacing(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when the block has ended well."""
    old = overwrite and out.is_dir() and (out / "convert.csv").is_file()
    if old:
        strangers = [path.name for path in out.iterdir() if path.name not in OURS]
        if strangers:
            raise UserError(f"--out {out}: holds {strangers[0]} too; choose another folder")
    with folder_or_nothing(out, "--out"):
        if not old:
            new_folder(out, "--out", "choose another, or give --overwrite for one of convert's")
        with tempfile.TemporaryDirectory(prefix=".converting-", dir=out.resolve().parent) as work:
            built = Path(work) / "built"
            built.mkdir()
            yield built
            if old:
                out.resolve().rename(Path(work) / "old")
            else:
                out.rmdir()  # empty: new_folder has seen to that
            built.rename(out)


def _write(
    folder: Path,
    annotations: Annotations,
    policy: Policy,
    classes: tuple[str, ...],
    config: ConvertConfig,
) -> list[dict[str, Any]]:
    """Copy the images and draw the masks; a row of facts for each."""
    pictures = annotations.pictures
    parts = {picture.part for picture in pictures}
    divided = len(parts) > 1 and "" not in parts
    names = _names(pictures, divided)
    with ThreadPoolExecutor(config.workers or cores()) as pool:
        paths = [picture.image for picture in pictures]
        seen = dict(zip(paths, pool.map(look, paths), strict=True))
        stored = drawn_on_stored(pictures, seen)

        def write(at: int) -> dict[str, Any]:
            """One image and its mask."""
            picture, name = pictures[at], names[at]
            found = seen[picture.image]
            on_stored = picture.image in stored
            drawn = draw(picture, annotations, policy, found.stored if on_stored else found.upright)
            if on_stored:
                drawn.mask = upright(drawn.mask, found.orientation)
            place = folder / picture.part if divided else folder
            _save(place, name, picture.image, drawn.mask)
            return row_of(name, picture, drawn, classes, divided)

        with progress("convert", show=config.progress) as advance:
            rows = []
            for row in pool.map(write, range(len(pictures))):
                rows.append(row)
                if advance:
                    advance(len(rows), len(pictures))
    say_turned(seen, stored)
    return rows


def _save(place: Path, name: str, image: Path, mask: np.ndarray) -> None:
    for kind in ("images", "masks"):
        (place / kind).mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(image, place / "images" / f"{name}{image.suffix}")
        encoded = cv2.imencode(".png", mask)[1]
        (place / "masks" / f"{name}.png").write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(f"--out {place}: cannot be written ({error.strerror})") from None


def _names(pictures: Sequence[Picture], divided: bool) -> list[str]:
    """A name for each picture that is its own within the part: its stem, else with its folder."""

    def key(picture: Picture, name: str) -> tuple[str, str]:
        return (picture.part if divided else "", name.casefold())

    counts = Counter(key(picture, picture.stem) for picture in pictures)
    names = []
    for picture in pictures:
        stem = picture.stem
        twice = counts[key(picture, stem)] > 1
        names.append(f"{picture.image.parent.name}-{stem}" if twice else stem)
    again = Counter(key(picture, name) for picture, name in zip(pictures, names, strict=True))
    for picture, name in zip(pictures, names, strict=True):
        if again[key(picture, name)] > 1:
            raise UserError(f"{picture.image}: another image has the same name; rename one of them")
        if not name.isprintable():
            raise UserError(f"{picture.image!a}: has a name that cannot be written; rename it")
    return names


def _description(
    config: ConvertConfig, classes: tuple[str, ...], rows: Sequence[dict[str, Any]]
) -> str:
    """The content of dataset.yaml."""
    facts: dict[str, Any] = {
        "name": config.out.resolve().name,
        "images": "images/*",
        "masks": "masks/{stem}.png",
        "classes": list(classes),
        "mask_kind": "index",
    }
    if any(row["pixels ignored"] for row in rows):
        facts["ignore"] = [IGNORED]
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def run_convert(config: ConvertConfig) -> dict[str, Any]:
    """`medseg data convert`."""
    if config.from_:
        choose("format", config.from_, READERS)
    return convert(config)

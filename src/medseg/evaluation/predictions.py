"""`medseg evaluate FOLDER`: masks or probability maps of any tool, evaluated as a run is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from loguru import logger

from medseg.config import EvaluateConfig
from medseg.console import progress
from medseg.data.cache import read_pair
from medseg.data.digests import pixel_digest
from medseg.data.masks import MaskCoding, declared_by, read_classes, survey
from medseg.data.sample import Dataset, Item
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.groups import with_groups_beside
from medseg.data.sources.listing import list_images, list_maps
from medseg.data.sources.names import name_of
from medseg.data.sources.rules import Rule
from medseg.errors import UserError
from medseg.evaluation.maps import MapReading, read_probabilities, survey_maps
from medseg.evaluation.measure import measure_image, measuring
from medseg.evaluation.pictures import Pixels
from medseg.evaluation.results import Evaluation, Subject, collect
from medseg.evaluation.stamp import BEFORE, split_stamp
from medseg.evaluation.targets import Target, items_of, out_folder
from medseg.hardware import cores
from medseg.metrics.counts import confusion
from medseg.preprocessing import Preprocessing

IN_COLOUR = Preprocessing((1, 1), channels=3)
MASK_ENDINGS = ("_mask", "_segmentation", "_pred", "_prediction")


def is_predictions(path: Path) -> bool:
    """Whether the path is a folder of images, or of `medseg predict`'s results, and not a run."""
    marks_of_a_run = ("best.pt", "last.pt", "config.yaml")
    if not path.is_dir() or any((path / name).exists() for name in marks_of_a_run):
        return False
    results = any((path / name).is_dir() for name in ("probabilities", "masks"))
    return results or bool(list_maps(path))


def evaluate_predictions(config: EvaluateConfig) -> tuple[Evaluation, Path]:
    """Evaluate the images of a folder against `--references`, or a part of `--data`.

    A prediction belongs to the reference of the same name without extension. What its values stand
    for is recognised over the folder by `survey_maps`. One of another size than its reference is
    resized bilinearly, and counted. Returns what was found and the folder for it. Raises
    `UserError` for a reference without a prediction: leaving it out would hide a failure.
    """
    started = time.perf_counter()
    target = _target(config)
    workers = config.workers or cores()
    declared = declared_by(config, target.dataset.description)
    coding = survey(target.items, declared, workers=workers)
    logger.info(coding.text)
    if coding.classes > 2:
        raise UserError(
            f"{config.run}: the references hold {coding.classes} classes; folders of predictions"
            " are evaluated for two"
        )
    folder_of_maps = _folder_of_maps(config.run)
    files = matched(target.items, folder_of_maps)
    reading = survey_maps(files, workers=workers)
    logger.info(f"predictions: {reading.text} in {len(files)} files")
    counts, measured, masks, resized = _count(config, target.items, files, coding, reading)
    notes = [*target.dataset.notes, f"predictions: {len(files)} files of {folder_of_maps}"]
    if resized:
        notes.append(
            f"{resized} predictions had another size than their reference and were resized"
            " bilinearly"
        )
        logger.warning(notes[-1])
    about = target.about() | {
        "model": f"predictions {config.run.resolve().name}",
        "notes": notes,
        "threshold": config.threshold,
    }
    folder = out_folder(config, config.run, target.dataset)

    def draw(names: Sequence[str]) -> dict[str, Pixels]:
        file_of = {item.name: (item, file) for item, file in zip(target.items, files, strict=True)}
        return {name: _pixels(*file_of[name], coding, reading, config.threshold) for name in names}

    found = counts, measured, masks
    return collect(Subject(about), target.items, coding, *found, draw, started), folder


def _folder_of_maps(folder: Path) -> Path:
    """Where the maps lie: in what `medseg predict` wrote probabilities go before masks."""
    for name in ("probabilities", "masks"):
        if (folder / name).is_dir():
            return folder / name
    return folder


def _target(config: EvaluateConfig) -> Target:
    """The references, from a folder or a part of a data set."""
    if config.references is None:
        if config.data is None:
            raise UserError(
                f"{config.run}: is a folder of predictions; say what they are evaluated against"
                " with --references DIR or --data NAME|PATH"
            )
        root = config.data_root or Path("data")
        dataset = open_dataset(
            config.data,
            data_root=root,
            split=config.split,
            pages=config.pages,
            rule=Rule(config.images, config.masks),
        )
        items = tuple(items_of(dataset, config.split_part))
        return Target(dataset, config.split_part, items, _stamp(config.split_part, dataset))
    if config.data:
        raise UserError(f"--references {config.references}: give either this or --data")
    if not config.references.is_dir():
        raise UserError(f"--references {config.references}: no such folder")
    masks = list_images(config.references)
    if not masks:
        raise UserError(
            f"--references {config.references}: no image in this folder; expected masks"
        )
    names = [name_of(mask).removesuffix("_mask").removesuffix("_segmentation") for mask in masks]
    items = [Item(name, mask, (mask,)) for name, mask in zip(names, masks, strict=True)]
    items = tuple(with_groups_beside(items, config.references))
    dataset = Dataset(config.references.resolve().name, "as-is", {"references": items})
    return Target(dataset, "references", items, _stamp("references", dataset))


def _stamp(part: str, dataset: Dataset) -> dict[str, Any]:
    """That of the split, if the predictions are of a part of one.

    What their network was trained on is for its owner to say.
    """
    if part not in BEFORE:
        return {
            "verdict": "unknown",
            "text": (
                "a folder of predictions: whether their network saw these images, or others of"
                " their groups, is not known"
            ),
        }
    stamp = split_stamp(dataset, part)
    text = f"{stamp['text']} (if the network was trained on the train part of this split)"
    return stamp | {"text": text}


def matched(items: Sequence[Item], folder: Path) -> list[Path]:
    """The prediction of each item, by its name, or that name with one of `MASK_ENDINGS`."""
    by_stem: dict[str, Path] = {}
    for file in list_maps(folder):
        if name_of(file) in by_stem:
            raise UserError(
                f"{file}: {by_stem[name_of(file)].name} has the same name; one prediction per image"
                " is expected"
            )
        by_stem[name_of(file)] = file
    files, missing = [], []
    for item in items:
        stem = Path(item.name).name
        names = [stem, *(stem + ending for ending in MASK_ENDINGS)]
        file = next((by_stem[name] for name in names if name in by_stem), None)
        if file is None:
            missing.append(item.name)
        else:
            files.append(file)
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(items)} references have no prediction, such as"
            f" {missing[0]}; an image without one would hide a failure: predict it, or evaluate"
            " another part"
        )
    return files


def _count(
    config: EvaluateConfig,
    items: Sequence[Item],
    files: Sequence[Path],
    coding: MaskCoding,
    reading: MapReading,
) -> tuple[np.ndarray, list[dict[str, Any]], list[str], int]:
    """Confusion counts int64 [N, 2, 2], measurements if asked for, digests of the references.

    Last comes the number of resized maps.
    """
    counts, measured, digests, resized = [], [], [], 0
    settings = measuring(config)
    with progress("evaluate", show=config.progress) as advance:
        for done, (item, file) in enumerate(zip(items, files, strict=True), 1):
            truth = read_classes(item, coding)
            digests.append(pixel_digest(truth))
            probability = read_probabilities(file, reading)
            resized += probability.shape != truth.shape
            probability = _fitted(probability, truth.shape, file)
            prediction = (probability >= config.threshold).astype(np.uint8)
            pair = torch.from_numpy(prediction)[None], torch.from_numpy(truth)[None]
            counts.append(confusion(*pair, 2)[0].numpy())
            if settings:
                measured.append(measure_image(probability, prediction, truth, **settings))
            if advance:
                advance(done, len(items))
    counted = np.stack(counts)
    if not config.accept_empty:
        _refuse_constant(counted, files, config.threshold)
    return counted, measured, digests, resized


def _refuse_constant(counts: np.ndarray, files: Sequence[Path], threshold: float) -> None:
    """`UserError` where no pixel of any prediction is foreground, or every pixel of all."""
    for index, what in ((0, "no pixel of any"), (1, "every pixel of each")):
        if counts[:, :, index].sum() == counts.sum():
            reaches = "is at least" if index else "reaches"
            raise UserError(
                f"{files[0].parent}: {what} of {len(files)} predictions {reaches} --threshold"
                f" {threshold:g}; check how they are coded, or give --accept-empty if they are so"
            )


def _pixels(
    item: Item, file: Path, coding: MaskCoding, reading: MapReading, threshold: float
) -> Pixels:
    """Image, truth and prediction; on black where only the references are known."""
    if item.image == item.masks[0]:
        truth = read_classes(item, coding)
        image = np.zeros((*truth.shape, 3), np.uint8)
    else:
        image, truth = read_pair(item, coding, IN_COLOUR)
    probability = _fitted(read_probabilities(file, reading), truth.shape, file)
    return image, truth, (probability >= threshold).astype(np.uint8)


def _fitted(probability: np.ndarray, shape: tuple[int, int], file: Path) -> np.ndarray:
    """The map at the size of its reference; `UserError` for another aspect ratio."""
    if probability.shape == shape:
        return probability
    height, width = probability.shape
    across = abs(width * shape[0] / height - shape[1])
    if across > 1 and abs(height * shape[1] / width - shape[0]) > 1:
        turned = ": is it transposed" if probability.shape == shape[::-1] else ""
        raise UserError(
            f"{file}: is {width}x{height} pixels, its reference {shape[1]}x{shape[0]}{turned}; a"
            " prediction of another size must have the same aspect ratio"
        )
    return cv2.resize(probability, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)

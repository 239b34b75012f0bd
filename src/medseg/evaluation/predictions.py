"""`medseg evaluate FOLDER`: masks or probability maps of any tool, judged as a run is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from loguru import logger

from medseg.config import EvaluateConfig
from medseg.console import progress
from medseg.data.cache import read_pair
from medseg.data.decode import is_zero_one, read_map, read_mask
from medseg.data.folder import list_images, list_maps, open_dataset
from medseg.data.groups import groups_beside
from medseg.data.masks import MaskCoding, decode_mask, survey
from medseg.data.sample import Dataset, Item
from medseg.errors import UserError
from medseg.evaluation.judge import Judged
from medseg.evaluation.measure import measure_image
from medseg.evaluation.report import Picture, pick, worst_shown
from medseg.evaluation.run import items_of, measuring, out_folder, write_results
from medseg.evaluation.stamp import BEFORE, split_stamp
from medseg.hardware import cores
from medseg.metrics.counts import confusion


def evaluate_folder(config: EvaluateConfig) -> dict[str, Any]:
    """Judge the images of a folder against `--references`, or a part of `--data`; write the three
    files, return the summary.

    A prediction belongs to the reference of the same name without extension. 8 and 16 bits count
    over their full range, unless no file holds more than 1; floats, in TIFF or .npy, are
    probabilities as they are. Another size than the reference's is resized bilinearly, and counted.
    Raises `UserError` for a reference without prediction: leaving it out would hide a failure.
    """
    started = time.perf_counter()
    place = next(
        (config.run / name for name in ("probabilities", "masks") if (config.run / name).is_dir()),
        config.run,
    )
    dataset, items = _references(config)
    workers = config.workers or cores()
    coding = survey(items, workers=workers)
    if coding.classes > 2:
        raise UserError(
            f"{config.run}: the references hold {coding.classes} classes; folders of predictions"
            " are judged for two"
        )
    files = matched(items, place)
    with ThreadPoolExecutor(workers) as pool:
        zero_one = all(pool.map(is_zero_one, files))
    counts, measured, resized = [], [], 0
    settings = measuring(config)
    with progress("evaluate", show=config.progress) as advance:
        for done, (item, file) in enumerate(zip(items, files, strict=True), 1):
            truth = decode_mask(read_mask(item.mask), coding, name=str(item.mask))
            probability, changed = _fitted(read_map(file, zero_one=zero_one), truth.shape)
            resized += changed
            prediction = (probability > config.threshold).astype(np.uint8)
            counts.append(
                confusion(torch.from_numpy(prediction)[None], torch.from_numpy(truth)[None], 2)[
                    0
                ].numpy()
            )
            if settings:
                measured.append(measure_image(probability, prediction, truth, **settings))
            if advance:
                advance(done, len(items))
    notes = [*dataset.notes, f"predictions: {len(files)} files of {place}"]
    if resized:
        notes.append(
            f"{resized} predictions had another size than their reference and were resized"
            " bilinearly"
        )
        logger.warning(notes[-1])
    about = {
        "data": dataset.name,
        "split": dataset.split,
        "part": "references" if config.references else config.split_part,
        "model": f"predictions {config.run.resolve().name}",
        "notes": notes,
        "threshold": config.threshold,
        "stamp": _stamp(config, dataset),
    }
    folder = out_folder(config, config.run, dataset)
    summary = write_results(
        folder,
        items,
        coding,
        Judged(np.stack(counts)),
        measured,
        about=about,
        started=started,
        config={},
        history=[],
        draw=lambda rows: _pictures(rows, items, files, coding, zero_one, config.threshold),
    )
    logger.info(f"report: {folder / 'report.html'}")
    return summary


def _stamp(config: EvaluateConfig, dataset: Dataset) -> dict[str, Any]:
    """That of the split, if the predictions are of a part of one: what their network was trained on
    is for its owner to say.
    """
    if config.references or config.split_part not in BEFORE:
        return {
            "verdict": "unknown",
            "text": (
                "a folder of predictions: whether their network saw these images, or others of"
                " their groups, is not known"
            ),
        }
    stamp = split_stamp(dataset, config.split_part)
    return stamp | {
        "text": f"{stamp['text']} (if the network was trained on the train part of this split)"
    }


def matched(items: Sequence[Item], folder: Path) -> list[Path]:
    """The prediction of each item, by its name, or that name with _mask, _segmentation, _pred or
    _prediction.
    """
    found: dict[str, Path] = {}  # by name without extension
    for file in list_maps(folder):
        if file.stem in found:
            raise UserError(
                f"{file}: {found[file.stem].name} has the same name; one prediction an image is"
                " expected"
            )
        found[file.stem] = file
    out, missing = [], []
    for item in items:
        stem = Path(item.name).name
        names = [stem, *(stem + end for end in ("_mask", "_segmentation", "_pred", "_prediction"))]
        file = next((found[name] for name in names if name in found), None)
        (missing if file is None else out).append(file or item.name)
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(items)} references have no prediction, such as"
            f" {missing[0]}; an image without one would hide a failure: predict it, or judge"
            " another part"
        )
    return out


def _references(config: EvaluateConfig) -> tuple[Dataset, list[Item]]:
    if config.references is None:
        if config.data is None:
            raise UserError(
                f"{config.run}: is a folder of predictions; say what they are judged against with"
                " --references DIR or --data NAME|PATH"
            )
        dataset = open_dataset(
            config.data, data_root=config.data_root or Path("data"), split=config.split
        )
        return dataset, items_of(dataset, config.split_part)
    if config.data or not config.references.is_dir():
        raise UserError(
            f"--references {config.references}: "
            + ("give either this or --data" if config.data else "no such folder")
        )
    masks = list_images(config.references)
    if not masks:
        raise UserError(
            f"--references {config.references}: no image in this folder; expected masks"
        )
    groups = groups_beside(config.references)
    items = [Item(_plain(mask.stem), mask, mask, groups.get(_plain(mask.stem))) for mask in masks]
    return Dataset(config.references.resolve().name, "as-is", {"references": tuple(items)}), items


def _plain(stem: str) -> str:
    return stem.removesuffix("_mask").removesuffix("_segmentation")


def _fitted(probability: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, bool]:
    if probability.shape == shape:
        return probability, False
    return cv2.resize(probability, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), True


def _pictures(
    rows: list[dict],
    items: Sequence[Item],
    files: Sequence[Path],
    coding: MaskCoding,
    zero_one: bool,
    threshold: float,
) -> dict[str, list[Picture]]:
    """The best, median and worst images; on black where only the references are known."""
    at = {item.name: i for i, item in enumerate(items)}

    def picture(name: str) -> Picture:
        item = items[at[name]]
        if item.image == item.mask:
            truth = decode_mask(read_mask(item.mask), coding, name=str(item.mask))
            image = np.zeros((*truth.shape, 3), np.uint8)
        else:
            image, truth = read_pair(item, coding, channels=3, bit_depth=16)
        probability, _ = _fitted(read_map(files[at[name]], zero_one=zero_one), truth.shape)
        return Picture(
            name, image, truth, (probability > threshold).astype(np.uint8), rows[at[name]]
        )

    return {
        group: [picture(name) for name in names]
        for group, names in pick(rows, worst=worst_shown(rows)).items()
    }

"""`medseg predict`: masks, overlays and probability maps of images of any size and format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from loguru import logger
from torch import Tensor

from medseg.config import PredictConfig
from medseg.console import progress
from medseg.data.sources.pages import pages_of_files
from medseg.errors import UserError, choose
from medseg.files import making_folder, write_atomic, write_csv
from medseg.hardware import cores
from medseg.inference.inputs import OUTPUTS, collect, output_names
from medseg.inference.overlay import COLOURS, blend
from medseg.inference.postprocess import classify, probabilities
from medseg.inference.predictor import Predictor

Picture = tuple[Path, int]  # a file and the page in it


def predict(config: PredictConfig, predictor: Predictor | None = None) -> dict:
    """Predict every image and write the results as lossless PNG files at the size of their image.

    Masks of two classes hold 0 and 255, of more the class indices. Probabilities are 16-bit: 65535
    stands for 1; with more than two classes one file a foreground class. With --pages all each page
    of a file has results of its own, named as in training. A file that cannot be read
    is reported and left out. Returns {"out", "written", "failed": {path: reason}}. `predictor`
    stands in for loading config.run. Where classes have names, they are in classes.csv and in the
    result as "classes".
    """
    kinds = [choose("--save", kind.strip(), OUTPUTS) for kind in config.save.split(",")]
    files = collect(config.images, config.out)
    names, note = pages_of_files(output_names(files), config.pages)
    if note:
        logger.warning(note)
    predictor = predictor or Predictor.load(
        config.run,
        accelerator=config.accelerator,
        precision=config.precision,
        preprocessing=config.preprocessing,
    )
    config = replace(config, threshold=predictor.backend.decision(config.threshold))
    if "probability" in kinds and not predictor.backend.gives_probability:
        raise UserError(
            f"--save probability: {config.run} gives masks only; export the run with"
            " --outputs mask,probability"
        )
    _make_folders(config, kinds, names)
    failed = _predict_all(config, kinds, names, predictor)
    for path, reason in failed.items():
        logger.warning(f"left out {path}: {reason}")
    written = len(names) - len(failed)
    logger.info(f"wrote {', '.join(kinds)} of {written} of {len(names)} images to {config.out}")
    result = {"out": str(config.out), "written": written, "failed": failed}
    if predictor.class_names:
        _write_classes(config.out, predictor.class_names)
        result["classes"] = list(predictor.class_names)
    return result


def _write_classes(folder: Path, names: Sequence[str]) -> None:
    """classes.csv: the value of each class in the masks, its name, and its colour in overlays."""
    rows = []
    for k, name in enumerate(names):
        colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[(k - 1) % len(COLOURS)]) if k else ""
        value = k * 255 if len(names) == 2 else k
        rows.append({"value": value, "name": name, "colour": colour})
    write_csv(folder / "classes.csv", rows)


def _make_folders(config: PredictConfig, kinds: Sequence[str], names: dict[Picture, str]) -> None:
    """The folders of the results; earlier ones in them are not replaced without --overwrite."""
    taken = []
    for kind in kinds:
        folder = config.out / OUTPUTS[kind]
        taken += [name for name in names.values() if (folder / f"{name}.png").exists()]
    if taken and not config.overwrite:
        raise UserError(
            f"--out {config.out}: holds {len(taken)} of the results already, such as"
            f" {Path(taken[0]).name}.png; choose another folder or give --overwrite"
        )
    with making_folder(config.out, "--out"):
        for kind in kinds:
            (config.out / OUTPUTS[kind]).mkdir(parents=True, exist_ok=True)


def _predict_all(
    config: PredictConfig,
    kinds: Sequence[str],
    names: dict[Picture, str],
    predictor: Predictor,
) -> dict[str, str]:
    """Predict and write all pictures; returns the files that cannot be read, and why."""
    failed: dict[str, str] = {}
    workers = config.workers or cores()
    with ThreadPoolExecutor(workers) as pool, progress("predict", show=config.progress) as advance:
        writing: list[Future] = []
        batches = _batches(predictor, list(names), config.batch_size, workers, pool, failed)
        for done, (pictures, images) in enumerate(batches, 1):
            margins = predictor.margins(images)
            for picture, image, margin in zip(pictures, images, margins, strict=True):
                job = (config, kinds, names[picture], image, margin, predictor)
                writing.append(pool.submit(_write, *job))
            while len(writing) > 4 * config.batch_size:  # bounded memory
                writing.pop(0).result()  # the first failure to write ends the run
            if advance:
                advance(min(len(names), done * config.batch_size), len(names))
        for future in writing:
            future.result()
    return failed


def _batches(
    predictor: Predictor,
    wanted: Sequence[Picture],
    size: int,
    workers: int,
    pool: ThreadPoolExecutor,
    failed: dict[str, str],
) -> Iterator[tuple[list[Picture], list[np.ndarray]]]:
    """Decoded images, read ahead by the pool; batches of one network input size."""
    ahead: list[tuple[Picture, Future]] = []
    waiting = iter(wanted)
    pictures: list[Picture] = []
    images: list[np.ndarray] = []

    def refill() -> None:
        while len(ahead) < size + workers and (picture := next(waiting, None)) is not None:
            ahead.append((picture, pool.submit(predictor.read, *picture)))

    refill()
    while ahead:
        picture, future = ahead.pop(0)
        refill()
        try:
            image = future.result()
        except UserError as error:
            failed[_shown(picture)] = str(error)
            continue
        other_size = (
            predictor.preprocessing.resize == "native-crop"
            and images
            and images[0].shape != image.shape
        )
        if other_size or len(images) == size:
            yield pictures, images
            pictures, images = [], []
        pictures.append(picture)
        images.append(image)
    if images:
        yield pictures, images


def _shown(picture: Picture) -> str:
    """The file of a picture, with its page behind the first."""
    path, page = picture
    return f"{path} page {page + 1}" if page else str(path)


def _write(
    config: PredictConfig,
    kinds: Sequence[str],
    name: str,
    image: np.ndarray,
    margin: Tensor,
    predictor: Predictor,
) -> None:
    classes = predictor.classes
    mask = classify(margin, config.threshold, predictor.temperature).cpu().numpy()
    for kind in kinds:
        path = config.out / OUTPUTS[kind] / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "mask":
            _png(path, mask * 255 if classes == 2 else mask)
        elif kind == "overlay":
            rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
            _png(path, blend(rgb, mask, alpha=config.alpha)[..., ::-1])
        else:
            share = probabilities(margin, predictor.temperature).cpu().numpy()
            for k in range(1, classes):
                at = path if classes == 2 else path.with_name(f"{path.stem}_class{k}.png")
                _png(at, np.round(share[k] * 65535).astype(np.uint16))


def _png(path: Path, pixels: np.ndarray) -> None:
    data = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    write_atomic(path, lambda file: file.write(data.tobytes()))

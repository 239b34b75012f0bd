"""`medseg evaluate`: the numbers of a run, per image and in named conventions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger

from medseg.config import EvaluateConfig
from medseg.console import progress
from medseg.data.cache import Store, open_store, read_pair
from medseg.data.digests import pixel_digest
from medseg.data.masks import MaskCoding
from medseg.data.sample import Item
from medseg.data.sealed import check_run
from medseg.errors import UserError
from medseg.evaluation.counting import Decision, count
from medseg.evaluation.measure import measure_image, measuring
from medseg.evaluation.pictures import Pixels
from medseg.evaluation.predictions import evaluate_predictions, is_predictions
from medseg.evaluation.reading import any_coding, coding_for, other_coding
from medseg.evaluation.results import Evaluation, Subject, collect
from medseg.evaluation.targets import Target, out_folder, target_of, target_of_file
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.inference.backends import Backend, TorchBackend
from medseg.inference.exported import is_exported, open_exported, results_of_file
from medseg.runs import Run


@dataclass(frozen=True)
class Options:
    """How an evaluation runs: none of it changes a number. `workers` 0 uses one thread per core."""

    batch_size: int = 8
    workers: int = 0
    cache_dir: Path | None = None
    progress: bool = True


def evaluate(config: EvaluateConfig) -> tuple[Evaluation, Path]:
    """Evaluate a run, an exported file or a folder of predictions on a part of a data set.

    Returns what was found and the folder in which per_image.csv and summary.json were written.
    """
    if is_exported(config.run):
        evaluation, folder = _evaluate_file(config)
    elif config.preprocessing:
        raise UserError(f"--preprocessing: {config.run} is no exported file; leave it out")
    elif is_predictions(config.run):
        evaluation, folder = evaluate_predictions(config)
    else:
        evaluation, folder = _evaluate_run(config)
    evaluation.write(folder)
    return evaluation, folder


def _evaluate_run(config: EvaluateConfig) -> tuple[Evaluation, Path]:
    run = Run.open(config.run)
    if config.references:
        raise UserError(
            f"--references: {config.run} is a run and brings its own data; name another set by"
            " --data"
        )
    if config.split_part in ("test", "all"):
        check_run(run.folder)
    target = target_of(run, config)
    folder = out_folder(config, run.folder, target.dataset)
    coding = coding_for(run, target, config)
    logger.info(coding.text)
    accelerator = pick_accelerator(config.accelerator)
    backend = backend_of(run, accelerator, pick_precision(config.precision, accelerator))
    workers = config.workers or run.config["workers"]
    evaluation = evaluate_items(
        backend,
        target.items,
        coding,
        decision_of(run, coding, config.threshold),
        subject_of(run, target),
        Options(config.batch_size, workers, cache_dir_of(run), config.progress),
        measuring=measuring(config),
    )
    return evaluation, folder


def _evaluate_file(config: EvaluateConfig) -> tuple[Evaluation, Path]:
    """An exported file on a part of the data set that `config` names."""
    file = open_exported(config.run, preprocessing=config.preprocessing, precision=config.precision)
    card = file.card
    target = target_of_file(card, config)
    folder = out_folder(config, results_of_file(config.run), target.dataset)
    trained = MaskCoding.from_dict(card.coding) if card.coding else None
    coding = other_coding(trained or any_coding(card.classes), target, config)
    logger.info(coding.text)
    about = target.about() | {"model": f"{card.model or 'file'}, {config.run.name}"}
    if card.class_names:
        about["class_names"] = list(card.class_names)
    evaluation = evaluate_items(
        file,
        target.items,
        coding,
        Decision(card.classes, file.decision(config.threshold), file.temperature),
        Subject(about),
        Options(config.batch_size, config.workers, None, config.progress),
        measuring=measuring(config),
    )
    return evaluation, folder


def backend_of(run: Run, accelerator: str, precision: str) -> TorchBackend:
    """The run's network on a device."""
    device = torch.device(accelerator)
    preprocessing = run.checkpoint.preprocessing
    return TorchBackend(run.network(device), preprocessing, device, precision)


def decision_of(run: Run, coding: MaskCoding, threshold: float = 0.5) -> Decision:
    """How the run's probabilities become classes."""
    return Decision(coding.classes, threshold, run.checkpoint.temperature)


def cache_dir_of(run: Run) -> Path | None:
    """Where the run's training kept decoded images; None is the default place."""
    folder = run.config["cache_dir"]
    return Path(folder) if folder else None


def subject_of(run: Run, target: Target) -> Subject:
    """A run on a target: the head of summary.json, the run's config and its training curves."""
    checkpoint = run.checkpoint
    if run.config["select"] == "best":
        selected_by = f"best validation {checkpoint.metric}"
    else:
        selected_by = "last epoch, no selection"
    of_target = target.about()
    about = {
        "data": of_target["data"],
        "split": of_target["split"],
        "part": of_target["part"],
        "model": model_text(checkpoint.network),
        "stamp": of_target["stamp"],
        "checkpoint": {
            "file": run.file.name,
            "epoch": checkpoint.epoch,
            "selected_by": selected_by,
            "score": checkpoint.score,
        },
        "notes": of_target["notes"],
    }
    if checkpoint.class_names:
        about["class_names"] = list(checkpoint.class_names)
    return Subject(about, run.config, run.history())


def model_text(network: Mapping[str, Any]) -> str:
    """Such as "unet 32" or "smp fpn resnet18"."""
    words = [network["name"]]
    if network["name"] == "smp":
        options = [f"{key}={each}" for key, each in network.items() if key.startswith("decoder_")]
        words += [network["decoder"], *options]
        words.append(network["encoder"])
    elif network["base_channels"]:
        words.append(str(network["base_channels"]))
    return " ".join(words)


def evaluate_items(
    backend: Backend,
    items: Sequence[Item],
    coding: MaskCoding,
    decision: Decision,
    subject: Subject,
    options: Options,
    *,
    measuring: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Evaluate the items at the native size of each mask.

    With `measuring`, the settings of `measure_image`, distances, lesions, calibration and the
    conventions of published tables are measured too.
    """
    started = time.perf_counter()
    store = open_native_store(backend, items, coding, decision, options)
    measured: dict[int, dict[str, Any]] = {}

    def measure(i: int, *maps: np.ndarray) -> None:
        measured[i] = measure_image(*maps, **measuring)

    with progress("evaluate", show=options.progress) as advance:
        counted = count(
            backend,
            store,
            decision,
            batch_size=options.batch_size,
            measure=measure if measuring else None,
            progress=advance,
        )

    def draw(names: Sequence[str]) -> dict[str, Pixels]:
        return draw_images(backend, items, store, coding, decision, names)

    about = subject.about | _settings(backend, decision)
    return collect(
        replace(subject, about=about),
        items,
        coding,
        counted.counts,
        [measured[i] for i in range(len(measured))],
        [pixel_digest(store.mask(i)) for i in range(len(items))],
        draw,
        started,
    )


def open_native_store(
    backend: Backend,
    items: Sequence[Item],
    coding: MaskCoding,
    decision: Decision,
    options: Options,
) -> Store:
    """The decoded items with their masks at native size."""
    with progress("decode", show=options.progress) as advance:
        return open_store(
            items,
            coding,
            backend.preprocessing,
            native_masks=True,
            folder=options.cache_dir,
            workers=options.workers or cores(),
            progress=advance,
        )


def draw_images(
    backend: Backend,
    items: Sequence[Item],
    store: Store,
    coding: MaskCoding,
    decision: Decision,
    names: Sequence[str],
) -> dict[str, Pixels]:
    """By name: the image uint8 [H, W, 3], its truth and its prediction uint8 [H, W].

    They are decoded and predicted again, since they are few; `store` holds the items.
    """
    position = {item.name: i for i, item in enumerate(items)}
    index = sorted(position[name] for name in names)
    masks = count(
        backend, store.subset(index), decision, batch_size=4, keep=range(len(index))
    ).masks
    in_colour = replace(backend.preprocessing, channels=3)
    return {
        items[i].name: (*read_pair(items[i], coding, in_colour), masks[place])
        for place, i in enumerate(index)
    }


def _settings(backend: Backend, decision: Decision) -> dict[str, Any]:
    """What decided the numbers beside the weights, for summary.json."""
    return {
        "parameters": backend.parameters,
        "size": list(backend.trained_preprocessing.size),
        "resize": backend.trained_preprocessing.resize,
        "threshold": decision.threshold,
        "temperature": decision.temperature,
        "precision": backend.precision,
    }

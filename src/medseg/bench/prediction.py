"""Prediction of files: that of `medseg predict`, and of a plain baseline."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import torch
from torch import nn

from medseg.bench.inputs import plain_device, scene_items, untrained_checkpoint
from medseg.bench.steps import repeated
from medseg.bench.turns import Reading, Work
from medseg.config import PredictConfig, TrainConfig, make
from medseg.data.decode import read_image
from medseg.inference.predict import predict as predict_files
from medseg.inference.predictor import Predictor
from medseg.training.parts import make_preprocessing
from medseg.training.profile import StageTimer
from medseg.training.runtime import make_fabric

LATENCY_FILES = 8


def predict(config: TrainConfig, folder: Path) -> Work:
    """`medseg predict` over the folder, masks written."""
    predictor, path = _predictor(config, folder)
    files = [str(item.image) for item in scene_items(folder)]
    options = make(
        PredictConfig,
        {
            "run": path,
            "images": files,
            "out": folder / "fast",
            "save": "mask",
            "overwrite": True,
            "progress": False,
            "accelerator": config.hardware.accelerator,
            "precision": config.hardware.precision,
            "batch_size": config.training.batch_size,
        },
    )

    def step() -> Reading:
        started = time.perf_counter()
        predict_files(options, predictor)
        return Reading(len(files), time.perf_counter() - started)

    return repeated(step)


def plain_predict(config: TrainConfig, folder: Path, *, write: bool = True) -> Work:
    """Decode, resize, network, resize, write, one image after another in float32."""
    device = plain_device(config)
    _, model = untrained_checkpoint(config, folder)
    model = model.to(device)
    files = [item.image for item in scene_items(folder)]
    (folder / "plain").mkdir(exist_ok=True)
    preprocessing = make_preprocessing(config)

    @torch.no_grad()
    def step() -> Reading:
        started = time.perf_counter()
        stages = StageTimer(device)
        for path in files:
            with stages.stage("decode and resize"):
                image = read_image(path, channels=config.data.channels).pixels
                small = torch.from_numpy(preprocessing.fit(image))
                small = small[None].to(device)
            with stages.stage("network"):
                logits = model(preprocessing.normalise(small).contiguous())
            with stages.stage("resize back"):
                full = nn.functional.interpolate(
                    logits, size=image.shape[:2], mode="bilinear", align_corners=False
                )
                mask = full.argmax(1)[0].to(torch.uint8).cpu().numpy()
            if write:
                with stages.stage("write"):
                    cv2.imwrite(str(folder / "plain" / f"{path.stem}.png"), mask * 255)
        return Reading(len(files), time.perf_counter() - started, stages.seconds)

    return repeated(step)


def latency(config: TrainConfig, folder: Path) -> Work:
    """`Predictor` on one file after another: decode, resize, network, resize back."""
    predictor, _ = _predictor(config, folder)
    files = [item.image for item in scene_items(folder)][:LATENCY_FILES]

    def step() -> Reading:
        started = time.perf_counter()
        for file in files:
            predictor(file)
        return Reading(len(files), time.perf_counter() - started)

    return repeated(step)


def plain_latency(config: TrainConfig, folder: Path) -> Work:
    """As `plain_predict`, nothing written."""
    return plain_predict(config, folder, write=False)


def _predictor(config: TrainConfig, folder: Path) -> tuple[Predictor, Path]:
    """The predictor of an untrained network, and its checkpoint."""
    make_fabric(config.hardware)  # sets the number of threads
    path, _ = untrained_checkpoint(config, folder)
    hardware = config.hardware
    predictor = Predictor.load(path, accelerator=hardware.accelerator, precision=hardware.precision)
    return predictor, path

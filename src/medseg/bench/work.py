"""What `medseg bench` times: the fast path of this package, and the plain way of doing the same.

Each maker is called in a process of its own and returns a function that does one turn of the work.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from medseg.augment.batch import augment, sample
from medseg.bench.turns import Reading, Work
from medseg.config import PredictConfig, TrainConfig, make
from medseg.data.batches import TrainBatches
from medseg.data.cache import Store, open_store, read_pair
from medseg.data.decode.raster import read_image
from medseg.data.masks import survey
from medseg.data.sample import Item
from medseg.data.sources.folder import open_dataset
from medseg.data.synthetic.synthesize import synthesize
from medseg.hardware import threads
from medseg.models import create_model, network_arguments
from medseg.runs import Checkpoint
from medseg.training import loop as engine
from medseg.training.optim import make_optimizer
from medseg.training.parts import make_preprocessing
from medseg.training.profile import StageTimer, wait_for
from medseg.training.runtime import make_fabric
from medseg.training.state import State
from medseg.training.tasks import TaskBatch, make_task

TURN = 2.0  # seconds that a turn should take


def scenes(folder: Path, *, count: int) -> None:
    """Generated images and masks for all measurements, 288 x 384 or so, below folder/scenes."""
    synthesize(folder / "scenes", images=count, size=288, seed=0)


def _items(folder: Path) -> list[Item]:
    dataset = open_dataset(folder / "scenes", data_root=folder)
    return [item for items in dataset.parts.values() for item in items]


def _store(config: TrainConfig, folder: Path) -> Store:
    items = _items(folder)
    preprocessing = make_preprocessing(config)
    return open_store(items, survey(items), preprocessing, folder=folder / "cache")


def _batches(config: TrainConfig, folder: Path, device: torch.device) -> TrainBatches:
    return TrainBatches(
        _store(config, folder), batch_size=config.training.batch_size, seed=0, device=device
    )


def _turns(step: Work) -> Work:
    """As many steps a turn as take about `TURN` seconds. The first turn warms up: one step, and one
    to count by.
    """
    steps: list[int] = []

    def turn() -> Reading:
        if not steps:
            step()
            started = time.perf_counter()
            reading = step()
            steps.append(max(1, round(TURN / (time.perf_counter() - started))))
            return reading
        whole = Reading(0, 0.0)
        for _ in range(steps[0]):
            part = step()
            whole.images, whole.seconds = whole.images + part.images, whole.seconds + part.seconds
            for name, seconds in part.stages.items():
                whole.stages[name] = whole.stages.get(name, 0.0) + seconds
        return whole

    return turn


def train(config: TrainConfig, folder: Path) -> Work:
    """The training step as `medseg train` runs it.

    Stages are measured in every step on the CPU and in every fourth elsewhere, where waiting for
    each would slow the rest.
    """
    fabric, _ = make_fabric(config.hardware)
    fabric.launch()
    model = create_model(**network_arguments(config, 2), encoder_weights=None)
    model = model.to(fabric.device, memory_format=torch.channels_last)
    optimizer = make_optimizer(model, config.optim, fused=fabric.device.type != "mps")
    task = make_task(config, model)
    if config.hardware.compile:
        task.forward_pass.compile()
    task, optimizer = fabric.setup(task, optimizer)
    batches = _batches(config, folder, fabric.device)
    state = State()
    loop = engine.Loop(config, fabric, task, optimizer, batches, make_preprocessing(config))
    task.train()
    count = config.training.batch_size
    plain_stage, steps = loop.callbacks.stage, [0]

    def step() -> Reading:
        steps[0] += 1
        timer = StageTimer(fabric.device)
        loop.callbacks.stage = (
            timer.stage if fabric.device.type == "cpu" or steps[0] % 4 == 0 else plain_stage
        )
        started = time.perf_counter()
        with loop.callbacks.stage("data"):
            batch = next(batches.epoch(state.epoch, state.step))
        engine.step(loop, state, batch, True)
        wait_for(fabric.device)
        seconds = time.perf_counter() - started
        state.epoch += 1
        return Reading(count, seconds, timer.seconds)

    return _shares_of_whole(_turns(step))


def _shares_of_whole(turn: Work) -> Work:
    """Scale the stages, measured in some steps only, to the whole turn."""

    def scaled() -> Reading:
        reading = turn()
        measured = sum(reading.stages.values())
        if measured:
            reading.stages = {
                name: seconds * reading.seconds / measured
                for name, seconds in reading.stages.items()
            }
        return reading

    return scaled


def _plain_device(config: TrainConfig) -> torch.device:
    """The device with the threads of the fast path, and nothing else that `make_fabric` sets."""
    torch.set_num_threads(threads(wanted=config.hardware.threads))
    return torch.device(config.hardware.accelerator)


def plain_train(config: TrainConfig, folder: Path) -> Work:
    """float32, contiguous, eager, AdamW as it comes, the loss read in every step; the same data and
    augmentation.
    """
    device = _plain_device(config)
    model = create_model(**network_arguments(config, 2), encoder_weights=None).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr)
    task, batches, preprocessing = (
        make_task(config, model),
        _batches(config, folder, device),
        make_preprocessing(config),
    )
    mean, std = preprocessing.constants(device)
    epoch = [0]

    def step() -> Reading:
        started = time.perf_counter()
        batch = next(batches.epoch(epoch[0]))
        parameters = sample(config.augment, 0, epoch[0], batch.keys)
        image, mask = augment(
            batch.image,
            batch.mask,
            parameters,
            config.augment,
            size=preprocessing.size,
            mean=mean,
            std=std,
        )
        loss, _ = task(TaskBatch(image.contiguous(), mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        epoch[0] += 1
        return Reading(len(batch.names), time.perf_counter() - started)

    return _turns(step)


def _network(config: TrainConfig, folder: Path) -> tuple[Path, nn.Module]:
    """A checkpoint of an untrained network, made once, and the network in it."""
    path = folder / "network.pt"
    torch.manual_seed(0)
    network = network_arguments(config, 2)
    model = create_model(**network, encoder_weights=None).eval()
    checkpoint = Checkpoint(
        network=network,
        weights=model.state_dict(),
        preprocessing=make_preprocessing(config),
        classes=2,
        mask_kind="binary-255",
        epoch=0,
        score=0.0,
        metric="dice",
        config={},
    )
    checkpoint.save(path)
    return path, model


def predict(config: TrainConfig, folder: Path) -> Work:
    """`medseg predict` over the folder, masks written."""
    from medseg.inference.predict import predict as run
    from medseg.inference.predictor import Predictor

    make_fabric(config.hardware)  # sets the number of threads
    path, _ = _network(config, folder)
    files = [str(item.image) for item in _items(folder)]
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
    predictor = Predictor.load(
        path, accelerator=config.hardware.accelerator, precision=config.hardware.precision
    )

    def step() -> Reading:
        started = time.perf_counter()
        run(options, predictor)
        return Reading(len(files), time.perf_counter() - started)

    return _turns(step)


def plain_predict(config: TrainConfig, folder: Path, *, write: bool = True) -> Work:
    """Decode, resize, network, resize, write, one image after another in float32."""
    device = _plain_device(config)
    _, model = _network(config, folder)
    model = model.to(device)
    files = [item.image for item in _items(folder)]
    (folder / "plain").mkdir(exist_ok=True)
    preprocessing = make_preprocessing(config)

    @torch.no_grad()
    def step() -> Reading:
        started = time.perf_counter()
        stages = StageTimer(device)
        for path in files:
            with stages.stage("decode and resize"):
                image = read_image(path, channels=config.data.channels)
                small = torch.from_numpy(preprocessing.fit(image))[None].to(device)
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

    return _turns(step)


def latency(config: TrainConfig, folder: Path) -> Work:
    """`Predictor` on one file after another: decode, resize, network, resize back."""
    from medseg.inference.predictor import Predictor

    make_fabric(config.hardware)
    path, _ = _network(config, folder)
    predictor = Predictor.load(
        path, accelerator=config.hardware.accelerator, precision=config.hardware.precision
    )
    files = [item.image for item in _items(folder)]

    def step() -> Reading:
        started = time.perf_counter()
        for file in files[:8]:
            predictor(file)
        return Reading(8, time.perf_counter() - started)

    return _turns(step)


def plain_latency(config: TrainConfig, folder: Path) -> Work:
    """As `plain_predict`, nothing written."""
    return plain_predict(config, folder, write=False)


def feed(config: TrainConfig, folder: Path) -> Work:
    """Batches from the cache, augmented, as the network would get them."""
    fabric, _ = make_fabric(config.hardware)
    batches, preprocessing = _batches(config, folder, fabric.device), make_preprocessing(config)
    mean, std = preprocessing.constants(fabric.device)
    epoch = [0]

    def step() -> Reading:
        timer, started = StageTimer(fabric.device), time.perf_counter()
        with timer.stage("gather"):
            batch = next(batches.epoch(epoch[0]))
        with timer.stage("augmentation"):
            parameters = sample(config.augment, 0, epoch[0], batch.keys)
            augment(
                batch.image,
                batch.mask,
                parameters,
                config.augment,
                size=preprocessing.size,
                mean=mean,
                std=std,
            )
        epoch[0] += 1
        return Reading(len(batch.names), time.perf_counter() - started, timer.seconds)

    return _turns(step)


def plain_feed(config: TrainConfig, folder: Path) -> Work:
    """The same batches with every file decoded anew."""
    device = _plain_device(config)
    items, preprocessing = _items(folder), make_preprocessing(config)
    mean, std = preprocessing.constants(device)
    coding = survey(items)
    keys = _batches(config, folder, device).keys

    def step() -> Reading:
        timer, started = StageTimer(device), time.perf_counter()
        chosen = np.random.default_rng().permutation(len(items))[: config.training.batch_size]
        with timer.stage("decode"):
            decoded = [read_pair(items[i], coding, preprocessing) for i in chosen]
            pairs = [
                (preprocessing.fit(image), preprocessing.fit_mask(mask)) for image, mask in decoded
            ]
            image, mask = (
                torch.from_numpy(np.stack(arrays)).to(device) for arrays in zip(*pairs, strict=True)
            )
        with timer.stage("augmentation"):
            parameters = sample(config.augment, 0, 0, keys[chosen])
            augment(
                image, mask, parameters, config.augment, size=preprocessing.size, mean=mean, std=std
            )
        return Reading(len(chosen), time.perf_counter() - started, timer.seconds)

    return _turns(step)

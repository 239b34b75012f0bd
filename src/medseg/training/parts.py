"""The data of a run, and the checks of a config that need more than one option."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from loguru import logger

from medseg.config import TrainConfig
from medseg.console import progress
from medseg.data.cache import Store, open_store
from medseg.data.masks import MaskCoding, survey
from medseg.data.sample import Dataset, Item
from medseg.data.sources.dataset import load_dataset
from medseg.distill import check as check_distillation
from medseg.errors import UserError
from medseg.hardware import cores
from medseg.losses import parse_loss
from medseg.models import MODELS, normalisation
from medseg.preprocessing import Preprocessing
from medseg.training.memory import fitting_batch_size


@dataclass(frozen=True)
class Parts:
    """train at the network's size, validation with masks at native size; `config` with what the
    data decided.
    """

    config: TrainConfig
    dataset: Dataset
    coding: MaskCoding
    preprocessing: Preprocessing
    train: Store
    validation: Store
    window: tuple[int, int] | None


def check(config: TrainConfig) -> None:
    """`UserError` for options that do not go together."""
    model, augment, training = config.model, config.augment, config.training
    parse_loss(config.loss.loss)
    check_distillation(config.distill, config.data.resize)
    if model.model == "smp" and model.base_channels is not None:
        raise UserError(
            "--base-channels: an smp network has its encoder's widths; choose another --encoder"
            " instead"
        )
    if model.model != "smp":
        for flag, value in (("--encoder", model.encoder), ("--decoder", model.decoder)):
            if value is not None:
                raise UserError(f"{flag} {value}: belongs to --model smp, not to {model.model}")
    if model.auxiliary and not MODELS[model.model].auxiliary:
        with_heads = [name for name, entry in MODELS.items() if entry.auxiliary]
        raise UserError(
            f"--auxiliary: {model.model} has no auxiliary heads; those with:"
            f" {', '.join(with_heads)}"
        )
    if model.auxiliary_weights is not None and not model.auxiliary:
        raise UserError("--auxiliary-weights: needs --auxiliary")
    if model.auxiliary_weights is not None and len(model.auxiliary_weights) != len(
        MODELS[model.model].auxiliary
    ):
        raise UserError(
            f"--auxiliary-weights: got {len(model.auxiliary_weights)} numbers, expected "
            f"{len(MODELS[model.model].auxiliary)}, one for each head of {model.model}"
        )
    if training.seeds or config.data.folds:
        raise UserError(
            f"--{'seeds' if training.seeds else 'folds'}: is for medseg train; here give one --seed"
            " and one --split"
        )
    if augment.scale[0] > augment.scale[1]:
        raise UserError(
            f"--scale {augment.scale[0]:g} {augment.scale[1]:g}: the lowest factor comes first"
        )
    if config.data.channels == 2:
        raise UserError("--channels 2: expected 3, or 1 for grey")
    if training.val_start >= training.epochs:
        raise UserError(
            f"--val-start {training.val_start}: no validation would take place in {training.epochs}"
            " epochs"
        )


def load_parts(config: TrainConfig, *, world: int = 1, dataset: Dataset | None = None) -> Parts:
    """Find, check and cache train and validation. The test part is not touched: it is read once,
    after training.

    `dataset` takes the place of the one that the config names.
    """
    data = config.data
    workers = data.workers or cores()
    dataset = dataset or load_dataset(
        data.data, data_root=data.data_root, split=data.split, hold_out=data.hold_out
    )
    for note in dataset.notes:
        logger.info(note)
    counts = ", ".join(f"{len(items)} {part}" for part, items in dataset.parts.items())
    logger.info(f"{dataset.name} ({dataset.split}): {counts}")
    train, validation = list(dataset.parts["train"]), list(dataset.parts["validation"])
    coding = survey(
        [*train, *validation], kind=data.mask_kind, classes=data.classes, workers=workers
    )
    logger.info(coding.text)
    if config.loss.class_weights is not None and len(config.loss.class_weights) != coding.classes:
        raise UserError(
            f"--class-weights: got {len(config.loss.class_weights)} numbers, expected"
            f" {coding.classes}, one for each class with the background first"
        )
    preprocessing = make_preprocessing(config)
    config = replace(config, data=replace(data, classes=coding.classes, mask_kind=coding.kind))
    if not config.training.batch_size:
        config = replace(
            config,
            training=replace(
                config.training, batch_size=fitting_batch_size(config, coding.classes, world)
            ),
        )
    config = replace(
        config, training=replace(config.training, batch_size=_batch_size(config, len(train), world))
    )

    def store(items: list[Item], text: str, native_masks: bool) -> Store:
        with progress(f"decode {text}", show=config.output.progress) as advance:
            return open_store(
                items,
                coding,
                preprocessing,
                native_masks=native_masks,
                ignore_index=config.loss.ignore_index,
                folder=data.cache_dir,
                workers=workers,
                progress=advance,
            )

    window = None
    if data.resize == "native-crop":  # wide enough to be zoomed out of
        low = config.augment.scale[0] if config.augment.augment else 1.0
        window = tuple(math.ceil(side / min(low, 1.0)) for side in preprocessing.size)
    return Parts(
        config,
        dataset,
        coding,
        preprocessing,
        store(train, "train", native_masks=False),
        store(validation, "validation", native_masks=True),
        window,
    )


def make_preprocessing(config: TrainConfig) -> Preprocessing:
    """Size, resize policy and channels as asked for; the normalisation that the weights were made for."""
    model, data = config.model, config.data
    encoder = (model.encoder or "resnet34") if model.model == "smp" else None
    mean, std = normalisation(encoder, model.encoder_weights if encoder else None)
    if data.channels == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return Preprocessing(
        data.size, data.resize, data.channels, data.bit_depth, tuple(mean), tuple(std)
    )


def _batch_size(config: TrainConfig, images: int, world: int) -> int:
    """The batch size, cut to the number of training images, and refused where the processes cannot
    share it equally.
    """
    wanted = config.training.batch_size
    size = min(wanted, max(1, images // world) * world)
    if size < wanted:
        logger.info(
            f"--batch-size {wanted} is more than the {images} training images: using {size}"
        )
    if size % world:
        below = size // world * world
        raise UserError(
            f"--batch-size {wanted}: cannot be shared equally by {world} processes; use"
            f" {below or world} or {below + world}"
        )
    if images < world:
        raise UserError(
            f"{images} training images cannot feed {world} processes; use fewer --devices"
        )
    return size

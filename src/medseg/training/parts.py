"""The data of a run, and the checks of a config that need more than one option."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from loguru import logger

from medseg.config import Data, Model, TrainConfig
from medseg.console import progress
from medseg.data.cache import Store, open_store
from medseg.data.decode import small_range
from medseg.data.masks import IGNORED, MaskCoding, declared_by, map_words, survey
from medseg.data.sample import Dataset, Item
from medseg.data.sources.dataset import dataset_of
from medseg.data.sources.groups import about_groups
from medseg.distill import check as check_distillation
from medseg.errors import UserError
from medseg.hardware import cores
from medseg.losses import parse_loss
from medseg.models import MODELS, normalisation
from medseg.preprocessing import Preprocessing
from medseg.training.memory import fitting_batch_size
from medseg.training.resume import same_data


@dataclass(frozen=True)
class Parts:
    """The data of a run, and `config` with what the data decided."""

    config: TrainConfig
    dataset: Dataset
    coding: MaskCoding
    preprocessing: Preprocessing
    train: Store  # at the network's size
    validation: Store  # with masks at native size
    window: tuple[int, int] | None  # height and width of native crops


def check(config: TrainConfig) -> None:
    """`UserError` for options that do not go together."""
    parse_loss(config.loss.loss)
    check_distillation(config.distill, config.data.resize)
    _check_model(config.model)
    _check_auxiliary(config.model)
    training, scale = config.training, config.augment.scale
    if training.seeds or config.data.folds:
        raise UserError(
            f"--{'seeds' if training.seeds else 'folds'}: is for medseg train; here give one --seed"
            " and one --split"
        )
    if scale[0] > scale[1]:
        raise UserError(f"--scale {scale[0]:g} {scale[1]:g}: the lowest factor comes first")
    if config.data.channels == 2:
        raise UserError("--channels 2: expected 3, or 1 for grey")
    if training.val_start >= training.epochs:
        raise UserError(
            f"--val-start {training.val_start}: no validation would take place in {training.epochs}"
            " epochs"
        )


def _check_model(model: Model) -> None:
    """`UserError` for options that another kind of network has."""
    if model.model == "smp":
        if model.base_channels is not None:
            raise UserError(
                "--base-channels: an smp network has its encoder's widths; choose another"
                " --encoder instead"
            )
        return
    of_smp = {
        "--encoder": model.encoder,
        "--decoder": model.decoder,
        "--decoder-options": " ".join(model.decoder_options),
    }
    for flag, value in of_smp.items():
        if value:
            raise UserError(f"{flag} {value}: belongs to --model smp, not to {model.model}")


def _check_auxiliary(model: Model) -> None:
    """`UserError` for auxiliary heads that the network does not have."""
    heads, weights = MODELS[model.model].auxiliary, model.auxiliary_weights
    if model.auxiliary and not heads:
        with_heads = [name for name, entry in MODELS.items() if entry.auxiliary]
        raise UserError(
            f"--auxiliary: {model.model} has no auxiliary heads; those with:"
            f" {', '.join(with_heads)}"
        )
    if weights is None:
        return
    if not model.auxiliary:
        raise UserError("--auxiliary-weights: needs --auxiliary")
    if len(weights) != len(heads):
        raise UserError(
            f"--auxiliary-weights: got {len(weights)} numbers, expected {len(heads)}, one for each"
            f" head of {model.model}"
        )


def load_parts(
    config: TrainConfig,
    *,
    world: int = 1,
    dataset: Dataset | None = None,
    coding: MaskCoding | None = None,
) -> Parts:
    """Find, check and cache the train and validation parts.

    Of the test part only the masks are read, for the classes that they hold: it is evaluated once,
    after training. `dataset` takes the place of the one that the config names, and `coding` that of
    a look at its masks; `world` is the number of processes.
    """
    dataset = _find_dataset(config, dataset)
    for note in filter(None, (*dataset.notes, about_groups(dataset))):
        logger.info(note)
    counts = ", ".join(f"{len(items)} {part}" for part, items in dataset.parts.items())
    logger.info(f"{dataset.name} ({dataset.split}): {counts}")
    train, validation = list(dataset.parts["train"]), list(dataset.parts["validation"])
    coding = coding or survey_of(dataset, config.data)
    logger.info(coding.text)
    _check_class_weights(config, coding.classes)
    preprocessing = make_preprocessing(config)
    config = _decided_by_data(config, coding, len(train), world)
    stores = [
        _open_store(config, items, coding, preprocessing, part)
        for part, items in (("train", train), ("validation", validation))
    ]
    if not _has_foreground(stores[0]):
        raise UserError(
            f"{dataset.name}: none of the {len(train)} training masks has foreground, so there is"
            " nothing to learn; use another --split, or correct the masks"
        )
    if narrow := small_range(stores[0].used):
        logger.warning(f"the training images use {narrow}")
    config = _able_to_select(config, stores[1])
    return Parts(config, dataset, coding, preprocessing, *stores, _window(config))


def survey_of(dataset: Dataset, data: Data) -> MaskCoding:
    """How the masks of a data set are coded, from those of all its parts together."""
    return survey(
        dataset.items,
        declared_by(data, dataset.description),
        workers=data.workers or cores(),
    )


def _able_to_select(config: TrainConfig, validation: Store) -> TrainConfig:
    """The config, without choosing by the validation images where none of them has foreground.

    Dice is then 0 or 1 for reasons that have nothing to do with how well anything is segmented.
    """
    training = config.training
    chooses = training.select == "best" or training.patience
    if not chooses or _has_foreground(validation):
        return config
    logger.warning(
        f"validation has no foreground in any of its {len(validation)} masks, so the best weights"
        " cannot be chosen on it: keeping the last ones, as --select last does"
        + (", and --patience is off" if training.patience else "")
    )
    return replace(config, training=replace(training, select="last", patience=0))


def _has_foreground(store: Store) -> bool:
    masks = (store.mask(index) for index in range(len(store)))
    return any(((mask > 0) & (mask != IGNORED)).any() for mask in masks)


def _find_dataset(config: TrainConfig, dataset: Dataset | None) -> Dataset:
    """The data set of a new run; for a resumed one the images that it was started with."""
    data = config.data
    if config.output.resume:
        before = same_data(config.output.resume, data, dataset)
        if before is not None:
            return before
    return dataset or dataset_of(data)


def _check_class_weights(config: TrainConfig, classes: int) -> None:
    weights = config.loss.class_weights
    if weights is not None and len(weights) != classes:
        raise UserError(
            f"--class-weights: got {len(weights)} numbers, expected {classes}, one for each class"
            " with the background first"
        )


def _decided_by_data(
    config: TrainConfig, coding: MaskCoding, images: int, world: int
) -> TrainConfig:
    """The config with classes, kind of mask and batch size; `images` is the number for training."""
    data = replace(
        config.data,
        classes=coding.classes,
        mask_kind=coding.kind,
        class_map=map_words(coding),
        mask_colours=tuple(",".join(map(str, colour)) for colour in coding.layout.colours),
    )
    config = replace(config, data=data)
    if not config.training.batch_size:
        config = _with_batch_size(config, fitting_batch_size(config, coding.classes, world))
    return _with_batch_size(config, _batch_size(config, images, world))


def _with_batch_size(config: TrainConfig, batch_size: int) -> TrainConfig:
    return replace(config, training=replace(config.training, batch_size=batch_size))


def _open_store(
    config: TrainConfig,
    items: list[Item],
    coding: MaskCoding,
    preprocessing: Preprocessing,
    part: str,
) -> Store:
    """The decoded images of a part, from the cache or made now."""
    with progress(f"decode {part}", show=config.output.progress) as advance:
        return open_store(
            items,
            coding,
            preprocessing,
            native_masks=part == "validation",
            folder=config.data.cache_dir,
            workers=config.data.workers or cores(),
            progress=advance,
        )


def _window(config: TrainConfig) -> tuple[int, int] | None:
    """Height and width of the crops of --resize native-crop, wide enough to be zoomed out of."""
    if config.data.resize != "native-crop":
        return None
    lowest = config.augment.scale[0] if config.augment.augment else 1.0
    height, width = (math.ceil(side / min(lowest, 1.0)) for side in config.data.size)
    return height, width


def make_preprocessing(config: TrainConfig) -> Preprocessing:
    """The preprocessing of a config, with the normalisation that pretrained weights need."""
    model, data = config.model, config.data
    if model.model == "smp":
        mean, std = normalisation(model.encoder or "resnet34", model.encoder_weights)
    else:
        mean, std = normalisation(None)
    if data.channels == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return Preprocessing(
        data.size, data.resize, data.channels, data.bit_depth, tuple(mean), tuple(std)
    )


def _batch_size(config: TrainConfig, images: int, world: int) -> int:
    """The batch size, cut to the number of training images.

    Raises `UserError` where the processes cannot share it equally.
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

"""Whole epochs, validation and feeding of medseg against the reference loop, in turns.

python benchmarks/training.py --data DIR/Kvasir-SEG --images 64 \\
    --out benchmarks/results/training-cpu.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import chain, count
from pathlib import Path
from typing import Any

import reference_loop
import torch

from medseg.augment.batch import augment, sample
from medseg.bench.bench import machine
from medseg.bench.turns import Maker, Reading, Work, in_turns
from medseg.config import TrainConfig, make
from medseg.data.batches import TrainBatches
from medseg.data.cache import open_store
from medseg.data.masks import survey
from medseg.data.sources.folder import open_dataset
from medseg.evaluation.counting import Decision
from medseg.evaluation.counting import count as count_confusion
from medseg.hardware import pick_accelerator, threads
from medseg.inference.backends import TorchBackend
from medseg.models import create_model, multiply_adds, network_arguments
from medseg.models.fold import fold_batch_norm
from medseg.preprocessing import Preprocessing
from medseg.training import loop as engine
from medseg.training.optim import make_optimizer
from medseg.training.parts import make_preprocessing
from medseg.training.profile import wait_for
from medseg.training.runtime import make_fabric
from medseg.training.state import State
from medseg.training.tasks import make_task

Variant = tuple[Maker, tuple]
NETWORKS = {
    "unet-32": {"model": "unet"},
    "ducknet-17": {"model": "ducknet"},
    "resunetpp-32": {"model": "resunetpp"},
    "smp-unet-resnet18": {"model": "smp", "encoder": "resnet18", "encoder_weights": "none"},
}


def items_of(data: str, images: int) -> list:
    """The first images of a data set, in order of their names."""
    dataset = open_dataset(data, data_root=Path(data).parent)
    items = sorted(chain.from_iterable(dataset.parts.values()), key=lambda item: item.name)
    return items[:images]


def our_epoch(config: TrainConfig, images: int, cache: Path, mode: str | None) -> Work:
    """One epoch of medseg's training loop per turn.

    The cache is made in the warm-up, as in the first epoch of a run. `mode` is that of
    torch.compile; "reduce-overhead" replays CUDA graphs.
    """
    fabric, _ = make_fabric(config.hardware)
    fabric.launch()
    items = items_of(config.data.data, images)
    preprocessing = Preprocessing(config.data.size, config.data.resize)
    store = open_store(items, survey(items), preprocessing, folder=cache)
    torch.manual_seed(0)
    network = create_model(**network_arguments(config, 2), encoder_weights=None)
    network = network.to(fabric.device, memory_format=torch.channels_last)
    optimizer = make_optimizer(network, config.optim, fused=True)
    task = make_task(config, network)
    if mode:
        task.forward_pass.compile(mode=mode)
    task, optimizer = fabric.setup(task, optimizer)
    batches = TrainBatches(
        store, batch_size=config.training.batch_size, seed=0, device=fabric.device
    )
    state = State()
    loop = engine.Loop(config, fabric, task, optimizer, batches, make_preprocessing(config))

    def turn() -> Reading:
        started = time.perf_counter()
        engine.run_epoch(loop, state)
        wait_for(fabric.device)
        state.epoch += 1
        state.step = 0
        return Reading(batches.steps * config.training.batch_size, time.perf_counter() - started)

    return turn


def our_validation(config: TrainConfig, images: int, cache: Path) -> Work:
    """All images at their own size counted, the cache warm."""
    fabric, precision = make_fabric(config.hardware)
    items = items_of(config.data.data, images)
    preprocessing = Preprocessing(config.data.size, "native-crop")
    store = open_store(items, survey(items), preprocessing, native_masks=True, folder=cache)
    model = create_model(**network_arguments(config, 2), encoder_weights=None)
    model = model.to(fabric.device, memory_format=torch.channels_last)

    def turn() -> Reading:
        started = time.perf_counter()
        network = fold_batch_norm(model, config.data.channels).to(memory_format=torch.channels_last)
        backend = TorchBackend(network, make_preprocessing(config), fabric.device, precision)
        count_confusion(backend, store, Decision(2), batch_size=4)
        return Reading(len(store), time.perf_counter() - started)

    return turn


def our_feeding(config: TrainConfig, images: int, cache: Path) -> Work:
    """One epoch of augmented batches per turn, the cache warm.

    352 pixels in the cache, `--size` in the batch.
    """
    fabric, _ = make_fabric(config.hardware)
    items = items_of(config.data.data, images)
    store = open_store(items, survey(items), Preprocessing((352, 352)), folder=cache)
    batches = TrainBatches(
        store, batch_size=config.training.batch_size, seed=0, device=fabric.device
    )
    preprocessing = make_preprocessing(config)
    epochs = count()

    def turn() -> Reading:
        started = time.perf_counter()
        epoch = next(epochs)
        for batch in batches.epoch(epoch):
            parameters = sample(config.augment, 0, epoch, batch.keys)
            augment(
                batch.image,
                batch.mask,
                parameters,
                config.augment,
                preprocessing,
            )
        wait_for(fabric.device)
        return Reading(batches.steps * batches.batch_size, time.perf_counter() - started)

    return turn


def reference(name: str, arguments: tuple) -> Variant:
    """The maker of a reference's epochs, and its arguments; imports that reference only."""
    if name == "lightning":
        import reference_lightning

        pairs, network, *rest = arguments
        return reference_lightning.epoch, (pairs, network["encoder"], *rest)
    if name == "monai":
        import reference_monai

        return reference_monai.epoch, arguments
    return reference_loop.epoch, arguments


def variants(
    given: argparse.Namespace, config: TrainConfig, name: str, folder: Path
) -> dict[str, Variant]:
    """Both sides of what is measured: the reference's and ours."""
    network = network_arguments(config, 2)
    accelerator = pick_accelerator()
    used = threads(wanted=given.threads)
    pairs = [(item.image, item.mask) for item in items_of(given.data, given.images)]
    ours = (config, given.images, folder / "cache")
    if given.what == "validation":
        plain = (reference_loop.validation, (pairs, network, accelerator, used))
        return {"reference": plain, "medseg": (our_validation, ours)}
    if given.what == "feeding":
        plain = (reference_loop.feeding, (pairs, given.size, given.batch_size, used))
        return {"reference": plain, "medseg": (our_feeding, ours)}
    log = folder / name
    arguments = (pairs, network, given.size, given.batch_size, log, accelerator, used)
    plain = reference(given.reference, arguments)
    return {"reference": plain, "medseg": (our_epoch, (*ours, given.compile))}


def measure(given: argparse.Namespace, name: str, folder: Path) -> dict[str, Any]:
    """Both sides with one network, and what ours gains."""
    options = {
        "data": given.data,
        "size": given.size,
        "batch_size": given.batch_size,
        "loss": "ce",
        "optimizer": "adam",
        "scale": (0.5, 2.0),
        "resize": "native-crop" if given.what == "validation" else "square",
        "threads": given.threads,
        **NETWORKS[name],
    }
    config = make(TrainConfig, options)
    found: dict[str, Any] = in_turns(
        variants(given, config, name, folder), seconds=0, rounds=given.rounds, apart=given.apart
    )
    if given.what == "training":
        network = create_model(**network_arguments(config, 2), encoder_weights=None).eval()
        found["flop_per_image"] = 6 * multiply_adds(network, given.size)
    ours, plain = found["medseg"], found["reference"]
    found["speedup"] = round(ours["images_per_second"] / plain["images_per_second"], 2)
    found["memory_ratio"] = round(ours["peak_memory_mib"] / plain["peak_memory_mib"], 2)
    return found


def command_line() -> argparse.ArgumentParser:
    """The options of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--reference",
        default="loop",
        choices=("loop", "lightning", "monai"),
        help="lightning trains its own U-Net on resnet18: use it with --networks smp-unet-resnet18",
    )
    parser.add_argument("--what", default="training", choices=("training", "validation", "feeding"))
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="threads, and loader processes of the reference; 0 is all cores",
    )
    parser.add_argument(
        "--apart",
        action="store_true",
        help="a new process for each turn, where both do not fit into memory",
    )
    parser.add_argument(
        "--compile",
        choices=("default", "reduce-overhead", "max-autotune-no-cudagraphs"),
        help="compile the network of our side; reduce-overhead replays CUDA graphs",
    )
    parser.add_argument("--out", type=Path, required=True)
    return parser


def main() -> None:
    """Measure and write the results."""
    parser = command_line()
    given = parser.parse_args()
    if given.images < given.batch_size:
        parser.error(f"--images {given.images}: fewer than one batch of {given.batch_size}")
    command = vars(given) | {"data": Path(given.data).name, "out": given.out.name}
    results = {"command": command, "machine": machine(pick_accelerator()), "networks": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.networks:
            found = measure(given, name, Path(folder))
            results["networks"][name] = found
            print(name, json.dumps(found), flush=True)
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(results, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()

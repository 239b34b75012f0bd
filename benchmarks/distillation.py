"""Does a teacher help a small student that trains for the same time?

Each setting is compared with the student alone, three seeds each.

    python benchmarks/distillation.py --data-root DIR --teacher runs/teacher \\
        --settings "kl cache" "kl+cwd weight=0.5 cache" --out runs/distillation

Each setting runs against the student alone, with three seeds each. The machine may be noisy, so
equal time is not waited for but computed: the steps of all ways of training are timed in
alternation in one process, and the student alone gets as many epochs as fill the distilled
training's time, rounded up, the making of the cache included. Schedules have one shape. The last
weights are evaluated (`--select last`): the 120 validation images of the official split are the
reported ones and choose nothing. The comparison is on the mean over seeds of each image. Called
again it resumes; more settings may be added.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medseg.bench.bench import machine
from medseg.comparison.compare import compare_pairs
from medseg.comparison.results import read_results
from medseg.config import TrainConfig, make
from medseg.console import to_json
from medseg.data.batches import TrainBatches
from medseg.distill import FEATURE_TERMS, parse_kd
from medseg.files import read_csv, write_text
from medseg.models import create_model, network_arguments
from medseg.training import loop as engine
from medseg.training.distillation import find_teachers, open_teacher_logits
from medseg.training.learner import make_learner
from medseg.training.parts import Parts, check, load_parts
from medseg.training.runtime import make_fabric
from medseg.training.state import State

BLOCK = 4  # steps timed at a time


@dataclass(frozen=True)
class Setting:
    """One way of distilling, from words such as "kl+cwd weight=0.5 temperature=2 cache"."""

    kd: str
    weight: float = 1.0
    temperature: float = 4.0
    cache: bool = False

    @classmethod
    def of(cls, text: str) -> Setting:
        """The setting that these words describe."""
        kd, *rest = text.split()
        values = dict(word.split("=") for word in rest if word != "cache")
        return cls(
            kd,
            float(values.pop("weight", 1)),
            float(values.pop("temperature", 4)),
            "cache" in rest,
            **values,
        )

    @property
    def name(self) -> str:
        """A name for folders and tables."""
        name = f"{self.kd.replace('*', 'x')}-w{self.weight:g}-t{self.temperature:g}"
        return f"{name}-cache" if self.cache else name

    def options(self, teachers: list[Path]) -> dict[str, Any]:
        """The options of `medseg train` for this setting."""
        return {
            "teacher": teachers,
            "kd": self.kd,
            "kd_weight": self.weight,
            "kd_temperature": self.temperature,
            "kd_cache": self.cache,
        }


def stepper(config: TrainConfig, parts: Parts) -> Callable[[], float]:
    """A function that trains `BLOCK` steps more and returns the mean seconds of each.

    The cache is there already.
    """
    fabric, _ = make_fabric(config.hardware)
    fabric.launch()
    torch.manual_seed(0)
    network = create_model(**network_arguments(config, parts.coding.classes))
    teachers = find_teachers(config, parts, fabric.device.type, None)
    learner = make_learner(config, parts, network, teachers, fabric)
    task, optimizer = fabric.setup(learner.task, learner.optimizer)
    batches = TrainBatches(
        parts.train, batch_size=config.training.batch_size, seed=0, device=fabric.device
    )
    loop = engine.Loop(config, fabric, task, optimizer, batches, parts.preprocessing)
    if learner.distillation:
        loop.teacher_logits = learner.distillation.teacher_logits
    state, waiting = State(), iter(())

    def steps() -> float:
        nonlocal waiting
        task.train()
        started = time.perf_counter()
        for _ in range(BLOCK):
            batch = next(waiting, None)
            if batch is None:
                state.epoch += 1
                waiting = batches.epoch(state.epoch)
                batch = next(waiting)
            float(engine.step(loop, state, batch, True)["loss"])  # waits for the device
        return (time.perf_counter() - started) / BLOCK

    return steps


def measure(
    base: dict[str, Any], settings: list[Setting], teachers: list[Path], rounds: int
) -> dict[str, Any]:
    """Median seconds per step of the student alone and of each setting, and of making the cache.

    Each setting is timed with and without the cache, where its terms allow one.
    """
    every: dict[Setting, None] = {}  # each once, in order
    for setting in settings:
        if not any(name in FEATURE_TERMS for _, name in parse_kd(setting.kd)):
            every[replace(setting, cache=True)] = None
        every[replace(setting, cache=False)] = None
    plain = make(TrainConfig, base)
    parts = load_parts(plain)
    ways = {"alone": stepper(plain, parts)}
    with tempfile.TemporaryDirectory() as folder:
        config = make(TrainConfig, base | Setting("kl").options(teachers) | {"cache_dir": folder})
        found = find_teachers(config, parts, "cpu", None)
        started = time.perf_counter()
        open_teacher_logits(config, parts, found, make_fabric(plain.hardware)[0].device)
        cache_seconds = time.perf_counter() - started
    for each in every:
        config = make(TrainConfig, base | each.options(teachers))
        check(config)
        ways[each.name] = stepper(config, parts)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, steps in ways.items():
            taken = steps()
            if turn:  # the first warms up
                seconds[name].append(taken)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return {
        "seconds_a_step": medians,
        "ratio": {name: value / medians["alone"] for name, value in medians.items()},
        "cache_seconds": cache_seconds,
        "steps_an_epoch": max(1, len(parts.train) // plain.training.batch_size),
        "images": len(parts.train),
    }


def train(
    base: dict[str, Any], options: dict[str, Any], epochs: int, seeds: str, out: Path
) -> None:
    """One arm: a training for each seed by `medseg train`, or the rest of it."""
    if (out / "report" / "validation" / "summary.json").exists():
        return
    for child in out.glob("seed-*"):  # stopped before its first checkpoint
        if not (child / "last.pt").exists():
            shutil.rmtree(child)
    words = ["--resume", str(out)]
    if not (out / "config.yaml").exists():
        words = ["--out", str(out)]
        length = {
            "epochs": epochs,
            "warmup_epochs": 0.1 * epochs,
            "val_interval": epochs,
            "select": "last",
            "seeds": seeds,
        }
        for key, value in (base | options | length).items():
            words += flag_words(key.replace("_", "-"), value)
    subprocess.run([sys.executable, "-m", "medseg", "train", *words], check=True)


def flag_words(flag: str, value: Any) -> list[str]:
    """An option as words of a command line."""
    if value is True:
        return [f"--{flag}"]
    if value is False:
        return [f"--no-{flag}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{flag}", *map(str, values)]


def compared(taught: Path, alone: Path) -> dict[str, Any]:
    """Mean Dice of both arms on the validation images, the paired difference, the time spent."""
    comparison = compare_pairs(read_results([taught, alone], "validation"), "dice")
    pair = comparison["pairs"][0]
    sign = 1 if pair["a"] == taught.name else -1
    low, high = sorted(sign * end for end in pair["interval"])
    means = {run["name"]: run["mean"] for run in comparison["runs"]}
    return {
        "n_images": comparison["n_images"],
        "taught": means[taught.name],
        "alone": means[alone.name],
        "difference": sign * pair["difference"],
        "interval": [low, high],
        "p_permutation": pair["p_permutation"],
        "p_wilcoxon": pair["p_wilcoxon"],
        "seconds_of_training": {"taught": seconds_of(taught), "alone": seconds_of(alone)},
    }


def seconds_of(run: Path) -> list[float]:
    """Seconds that the training of each seed took."""
    files = sorted(run.glob("seed-*/metrics.csv"))
    return [read_csv(file)[-1]["seconds"] for file in files]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="kvasir-seg")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--split", default="official-880-120")
    parser.add_argument("--teacher", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--settings",
        nargs="+",
        default=["kl cache"],
        help='such as "kl+0.5*cwd weight=2 temperature=2 cache"',
    )
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--base-channels", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=40, help="of the distilled student")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=25, help="blocks of steps timed of each way")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    return parser.parse_args()


def main() -> None:
    """Measure, train, compare; results.json is written anew after each setting."""
    given = arguments()
    settings = [Setting.of(text) for text in given.settings]
    base = {
        "data": given.data,
        "data_root": str(given.data_root),
        "model": "unet",
        "base_channels": given.base_channels,
        "size": given.size,
        "batch_size": given.batch_size,
        "threads": given.threads,
        "tensorboard": False,
    }
    if given.split != "none":
        base["split"] = given.split
    given.out.mkdir(parents=True, exist_ok=True)
    # measured once for each setting: a run that is resumed keeps its epochs
    times = given.out / "times.json"
    known = json.loads(times.read_text()) if times.exists() else []
    for setting in settings:
        if not any(setting.name in each["ratio"] for each in known):
            known.append(measure(base, [setting], given.teacher, given.rounds))
            write_text(times, to_json(known))
    results = []
    about = vars(given) | {
        "data_root": given.data_root.name,
        "out": given.out.name,
        "teacher": [path.name for path in given.teacher],
    }
    for setting in settings:
        time_of = next(each for each in known if setting.name in each["ratio"])
        ratio = max(1.0, time_of["ratio"][setting.name])  # below 1 is noise
        epochs = given.epochs * ratio
        if setting.cache:
            epoch_seconds = time_of["steps_an_epoch"] * time_of["seconds_a_step"]["alone"]
            epochs += time_of["cache_seconds"] / epoch_seconds
        epochs = math.ceil(epochs)
        taught, alone = given.out / f"{setting.name}-{given.epochs}", given.out / f"alone-{epochs}"
        train(base, setting.options(given.teacher), given.epochs, given.seeds, taught)
        train(base, {}, epochs, given.seeds, alone)
        last = {
            "setting": vars(setting),
            "epochs": {"taught": given.epochs, "alone": epochs},
            "times": time_of,
            **compared(taught, alone),
        }
        results.append(last)
        write_text(
            given.out / "results.json",
            to_json({"machine": machine("cpu"), "arguments": about, "results": results}),
        )
        low, high = last["interval"]
        print(
            f"{setting.name}: taught {last['taught']:.4f}, alone {last['alone']:.4f} in equal time,"
            f" difference {last['difference']:+.4f} (95 % {low:+.4f} to {high:+.4f}), p"
            f" {last['p_permutation']:.5f}"
        )


if __name__ == "__main__":
    main()

"""Does the fast path train to the Dice, and predict the masks, of float32 without any of it?

    python benchmarks/parity.py --data-root DIR --encoder-weights FILE \\
        --out benchmarks/results/parity-cpu.json

Training: a U-Net on EfficientNet-Lite0 on Kvasir-SEG (official-880-120), once with `--precision
auto` and once with fp32, for each seed; last weights, evaluated on the 120 images. Prediction: the
same weights through the fast path (folded batch norms, channels-last, `--precision auto`) and
through float32, contiguous, eager, unfolded. Called again it resumes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from medseg.bench.bench import machine
from medseg.config import TrainConfig, make, read_yaml
from medseg.evaluation.conventions import PER_IMAGE
from medseg.evaluation.counting import Decision, count
from medseg.files import read_csv
from medseg.hardware import pick_accelerator, pick_precision
from medseg.inference.backends import TorchBackend
from medseg.metrics.overlap import dice
from medseg.runs import Run
from medseg.training.parts import load_parts


def trained(given: argparse.Namespace, precision: str, seed: int) -> Path:
    """The run folder of one training, made where it is not there yet."""
    run = given.runs / f"{precision}-{seed}"
    if not (run / "report" / "validation").exists():
        options = {
            "--data": "kvasir-seg",
            "--data-root": given.data_root,
            "--split": "official-880-120",
            "--model": "smp",
            "--encoder": "tu-tf_efficientnet_lite0",
            "--encoder-weights": given.encoder_weights,
            "--size": given.size,
            "--epochs": given.epochs,
            "--warmup-epochs": 1,
            "--val-interval": given.epochs,
            "--select": "last",
            "--precision": precision,
            "--seed": seed,
            "--out": run,
        }
        command = [sys.executable, "-m", "medseg", "train", "--no-tensorboard", "--no-progress"]
        for flag, value in options.items():
            command += [flag, str(value)]
        subprocess.run(command, check=True)
    return run


def predicted(run: Path) -> dict[str, float]:
    """Mean Dice of the validation images by both ways of prediction.

    And how much it differs, on the mean and on the image where it differs most.
    """
    opened = Run.open(run)
    config = make(TrainConfig, read_yaml(run / "config.yaml"))
    parts = load_parts(config)
    accelerator = pick_accelerator()
    device = torch.device(accelerator)
    fast = TorchBackend(
        opened.network(device), parts.preprocessing, device, pick_precision("auto", accelerator)
    )
    plain = TorchBackend(opened.checkpoint.build().to(device), parts.preprocessing, device)
    decision = Decision(parts.coding.classes)
    counts = {
        "fast": count(fast, parts.validation, decision, batch_size=16).counts,
        "plain": count(plain, parts.validation, decision, batch_size=1).counts,
    }
    found = {name: PER_IMAGE.summarise(each)["dice"] for name, each in counts.items()}
    apart = abs(dice(counts["fast"]) - dice(counts["plain"]))[:, 1]
    return found | {
        "difference": found["fast"] - found["plain"],
        "largest_of_one_image": float(apart.max()),
    }


def main() -> None:
    """Train, predict, and write what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--encoder-weights", default="imagenet")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/parity"))
    parser.add_argument(
        "--others",
        type=Path,
        nargs="*",
        default=[],
        help="more runs whose predictions are compared",
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found: dict[str, Any] = {
        "machine": machine(pick_accelerator()),
        "size": given.size,
        "epochs": given.epochs,
        "training": {},
        "prediction": {},
    }
    for precision in ("auto", "fp32"):
        runs = [trained(given, precision, seed) for seed in given.seeds]
        scores = [read_csv(run / "metrics.csv")[-1]["val_dice"] for run in runs]
        found["training"][precision] = {
            "dice": scores,
            "mean": statistics.mean(scores),
            "sd": statistics.stdev(scores),
        }
        found["prediction"] |= {run.name: predicted(run) for run in runs}
    found["prediction"] |= {run.name: predicted(run) for run in given.others}
    given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

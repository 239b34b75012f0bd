"""Does a search pay? 30 pruned trials on a small Kvasir-SEG setting against the default.

    python benchmarks/search.py --data-root DIR --out benchmarks/results/search-cpu.json

About 10 minutes on two cores. Calls `medseg search` on a random split, as a user would: U-Net with
8 channels at 64 pixels, 15 epochs. The space asks what short trainings of a small network ask: how
fast, in how many steps, and how much less augmentation. The result holds the validation and test
Dice of winner and default, both trained for the same number of epochs, the gain with its interval,
and the share of time that pruning saved. Called again with the same --runs it resumes.

A network this small gains little from a second thread: a worker of one thread for each core gets
most done.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from medseg.bench.bench import machine
from medseg.hardware import cores

SPACE = """\
lr: {low: 0.0005, high: 0.02, log: true}
loss.dice: {low: 0.25, high: 4, log: true}
batch_size: [8, 16]
scale.0: {low: 0.6, high: 1}
scale.1: {low: 1, high: 1.5}
rotate: {low: 0, high: 30}
brightness: {low: 0, high: 0.3}
contrast: {low: 0, high: 0.3}
"""


def command(given: argparse.Namespace) -> list[str]:
    """The search as a user would start it."""
    options = {
        "--data": "kvasir-seg",
        "--data-root": given.data_root,
        "--split": given.split,
        "--model": "unet",
        "--base-channels": given.base_channels,
        "--size": given.size,
        "--epochs": given.epochs,
        "--trials": given.trials,
        "--workers": given.workers,
        "--seed": given.seed,
        "--study": "benchmark",
        "--out": given.runs,
        "--accelerator": "cpu",
        "--space": given.space or given.runs / "space.yaml",
    }
    words = [sys.executable, "-m", "medseg", "search", "--no-tensorboard", "--no-progress"]
    for flag, value in options.items():
        words += [flag, str(value)]
    return words


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The contents of search.json without paths."""
    again = found["retrained"]
    parts = ("validation", "test")
    best = {part: round(again["best"][part], 4) for part in parts}
    default = {part: round(again["default"][part], 4) for part in parts}
    counts = ("finished", "completed", "pruned", "failed", "tried_again_or_surplus")
    columns = ("number", "state", "value", "steps", "seconds")
    return {
        "metric": found["metric"],
        "best": best,
        "default": default,
        "validation_gain": round(best["validation"] - default["validation"], 4),
        "test_gain": round(again["gain"], 4),
        "test_gain_interval_95": [round(end, 4) for end in again["interval"]],
        "test_images": again["n_images"],
        "best_trial": found["best"]["trial"],
        "best_options": found["best"]["params"],
        **{key: found[key] for key in counts},
        "trial_seconds": round(sum(row["seconds"] or 0 for row in found["trials"]), 1),
        "pruning_saved": round(found["pruning_saved"] or 0, 4),
        "trials": [{key: row[key] for key in columns} for row in found["trials"]],
    }


def main() -> None:
    """Search, then write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-root", type=Path, required=True, help="folder that holds Kvasir-SEG"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/search-benchmark"), help="folder of the study"
    )
    parser.add_argument("--split", default="random-80-10-10-seed7")
    parser.add_argument("--space", type=Path, help="YAML file (default: the one in this script)")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--base-channels", type=int, default=8)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    (given.runs / "space.yaml").write_text(SPACE)
    started = time.perf_counter()
    subprocess.run(command(given), check=True)
    seconds = time.perf_counter() - started
    found = summary(json.loads((given.runs / "search.json").read_text()))
    about = vars(given) | {
        "data_root": given.data_root.name,
        "out": given.out.name,
        "runs": given.runs.name,
        "space": given.space.name if given.space else None,
    }
    results = {
        "command": about,
        "machine": machine("cpu"),
        "wall_clock_seconds": round(seconds, 1),
        "search": found,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=2, default=str) + "\n")
    print(json.dumps(results["search"] | {"trials": "..."}, indent=2))


if __name__ == "__main__":
    main()

"""Does a search pay? 30 pruned trials on a small Kvasir-SEG setting against the default; about an hour on two cores.

    python benchmarks/search.py --data-root DIR --out runs/search-benchmark

Runs `medseg search` with the space below on official-880-120 (its validation part held out of train), then prints the validation
Dice of winner and default, the test gain with its interval, and the share of time that pruning saved. Called again it goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

SPACE = """\
loss: [ce, ce+dice, focal+dice]
loss.dice: {low: 0.25, high: 4, log: true}
optimizer: [sgd, adam, adamw]
lr: {low: 0.0003, high: 0.1, log: true}
ema: [0, 0.99]
scale.0: {low: 0.5, high: 1}
scale.1: {low: 1, high: 2}
brightness: {low: 0, high: 0.5}
contrast: {low: 0, high: 0.5}
saturation: {low: 0, high: 0.5}
hflip: {low: 0, high: 0.5}
vflip: {low: 0, high: 0.5}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds Kvasir-SEG")
    parser.add_argument("--out", type=Path, default=Path("runs/search-benchmark"))
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--base-channels", type=int, default=8)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "space.yaml").write_text(SPACE)
    words = ["--data", "kvasir-seg", "--data-root", given.data_root, "--split", "official-880-120", "--model", "unet",
             "--base-channels", given.base_channels, "--size", given.size, "--epochs", given.epochs, "--trials", given.trials,
             "--study", "benchmark", "--space", given.out / "space.yaml", "--out", given.out, "--startup", 5, "--no-tensorboard"]
    subprocess.run([sys.executable, "-m", "medseg", "search", *map(str, words)], check=True)
    result = json.loads((given.out / "search.json").read_text())
    again = result["retrained"]
    print(f"validation Dice: best {again['best']['validation']:.4f}, default {again['default']['validation']:.4f}")
    print(f"test Dice: best {again['best']['test']:.4f}, default {again['default']['test']:.4f}, gain {again['gain']:+.4f} "
          f"(95 % {again['interval'][0]:+.4f} to {again['interval'][1]:+.4f})")
    seconds = sum(row["seconds"] or 0 for row in result["trials"])
    print(f"{result['completed']} completed, {result['pruned']} pruned, {result['failed']} failed in {seconds / 60:.0f} minutes; "
          f"pruning saved {result['pruning_saved']:.0%} of the time of all trials")


if __name__ == "__main__":
    main()

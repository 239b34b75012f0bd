"""Everything that needs a GPU, in one call of limited time that keeps what it has when stopped.

    python benchmarks/gpu.py --data DIR/Kvasir-SEG --minutes 25 --out results \\
        [--encoder-weights FILE]

Parts, in this order, each with its share of the time: matrix rate and bandwidth of the device;
training of all four networks against the reference loop, then U-Net and the resnet18 U-Net
compiled, the latter also with CUDA graphs; validation, feeding, prediction, latency; the Lightning
and MONAI references; two trainings at 352 pixels on effisegnet-800-100-100. OUT holds a JSON file
and a log for each part, the tables of both runs, and summary.json. Only its first lines need a GPU:
`--images 8 --size 64 --minutes 8` tries it on a CPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RUNS = {
    "lite0": ("--model", "smp", "--encoder", "tu-tf_efficientnet_lite0", "--decoder", "unet"),
    "unet": ("--model", "unet"),
}


def roofline() -> dict[str, float]:
    """Measured memory bandwidth in GB/s and matrix rates in TFLOP/s; empty without CUDA."""
    import torch

    if not torch.cuda.is_available():
        return {}

    def seconds(work: Callable[[], Any], repeat: int = 20) -> float:
        work()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeat):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / repeat

    block = torch.empty(2**28, device="cuda")
    found = {"copy_gb_s": 2 * block.nbytes / seconds(lambda: block.clone()) / 1e9}
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
        ("fp16", torch.float16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(8192, 8192, device="cuda", dtype=dtype)
        b = torch.randn(8192, 8192, device="cuda", dtype=dtype)
        product = seconds(partial(torch.matmul, a, b))
        found[f"matmul_{name}_tflop_s"] = 2 * 8192**3 / product / 1e12
    return {name: round(value, 1) for name, value in found.items()}


def training_rows(out: Path, rates: dict[str, float]) -> dict[str, Any]:
    """Speed-up, memory and share of the device's bf16 matrix rate of every training measured."""
    rows: dict[str, Any] = {}
    for path in sorted(out.glob("training*.json")):
        for name, found in json.loads(path.read_text())["networks"].items():
            rate = found["medseg"]["images_per_second"] * found["flop_per_image"] / 1e12
            peak = rates.get("matmul_bf16_tflop_s")
            rows[f"{path.stem} {name}"] = {
                "images_per_second": found["medseg"]["images_per_second"],
                "speedup": found["speedup"],
                "memory_ratio": found["memory_ratio"],
                "tflop_s": round(rate, 3),
                "share_of_matrix_rate": round(rate / peak, 3) if peak else None,
            }
    return rows


def run_rows(out: Path) -> dict[str, Any]:
    """Best validation Dice, test Dice and seconds until 0.90 of both trainings.

    Their tables are copied into `out`.
    """
    from medseg.files import read_csv

    rows: dict[str, Any] = {}
    for name in RUNS:
        run = out / "runs" / name
        history = [row for row in read_csv(run / "metrics.csv") if "val_dice" in row]
        if not history:
            continue
        shutil.copy(run / "metrics.csv", out / f"{name}-metrics.csv")
        reached = (row["seconds"] for row in history if row["val_dice"] >= 0.9)
        rows[name] = {
            "epochs": int(history[-1]["epoch"]),
            "seconds": history[-1]["seconds"],
            "best_validation_dice": max(row["val_dice"] for row in history),
            "seconds_to_.90": next(reached, None),
        }
        test = run / "report" / "test"
        if (test / "summary.json").exists():
            shutil.copy(test / "per_image.csv", out / f"{name}-per-image.csv")
            rows[name]["test"] = json.loads((test / "summary.json").read_text())["protocols"]
    return rows


class Parts:
    """The parts of the measurement, each a command with a log of its own."""

    def __init__(self, data: str, out: Path, *, minutes: float, images: int, size: int) -> None:
        self.data = data
        self.out = out
        self.images = images
        self.size = size
        self.until = time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()

    def call(self, name: str, *command: object, limit: float) -> None:
        """Run python with this command for at most `limit` seconds, its output in OUT/NAME.log."""
        limit = min(limit, self.left())
        if limit < 20:
            print(f"{name}: left out, no time", flush=True)
            return
        with open(self.out / f"{name}.log", "w", encoding="utf-8") as log:
            try:
                code = subprocess.run(
                    [sys.executable, *map(str, command)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=limit,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = "out of time"
        print(f"{name}: {code}, {self.left():.0f} s left", flush=True)

    def against(self, name: str, *options: object, limit: float) -> None:
        """`training.py` with its result in OUT/NAME.json."""
        self.call(
            name,
            HERE / "training.py",
            "--data",
            self.data,
            "--images",
            self.images,
            "--size",
            self.size,
            "--batch-size",
            min(16, self.images),
            *options,
            "--out",
            self.out / f"{name}.json",
            limit=limit,
        )

    def speeds(self) -> None:
        """Everything that is measured against another way of doing it."""
        self.against("training", limit=240)
        for mode in ("default", "reduce-overhead"):
            self.against(
                f"training-{mode}",
                "--networks",
                "unet-32",
                "smp-unet-resnet18",
                "--compile",
                mode,
                limit=180,
            )
        self.against("validation", "--networks", "unet-32", "--what", "validation", limit=120)
        self.against("feeding", "--networks", "unet-32", "--what", "feeding", limit=60)
        for what in ("predict", "latency"):
            self.call(
                f"bench-{what}",
                "-m",
                "medseg",
                "bench",
                what,
                "--size",
                self.size,
                "--batch-size",
                min(32, self.images),
                "--json",
                limit=60,
            )
        for other in ("lightning", "monai"):
            self.against(
                f"training-{other}",
                "--networks",
                "smp-unet-resnet18",
                "--reference",
                other,
                limit=90,
            )
        self.call("means", HERE / "means.py", "--out", self.out / "means.json", limit=90)

    def runs(self, encoder_weights: str) -> None:
        """Both trainings, which share what is left."""
        for number, (name, options) in enumerate(RUNS.items()):
            share = self.left() / (len(RUNS) - number)
            minutes = max(0.5, (share - 30) / 60)  # half a minute is for the evaluation
            weights = ("--encoder-weights", encoder_weights) if name == "lite0" else ()
            self.call(
                f"train-{name}",
                "-m",
                "medseg",
                "train",
                "--data",
                "kvasir-seg",
                "--data-root",
                Path(self.data).parent,
                "--split",
                "effisegnet-800-100-100",
                "--size",
                self.size + 32,
                "--batch-size",
                16,
                "--epochs",
                300,
                "--time-budget",
                f"{minutes:.1f}min",
                "--no-progress",
                *options,
                *weights,
                "--out",
                self.out / "runs" / name,
                limit=3600,
            )


def main() -> None:
    """Run the parts that fit into the time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder-weights", default="imagenet")
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--size", type=int, default=320)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    parts = Parts(
        given.data, given.out, minutes=given.minutes, images=given.images, size=given.size
    )
    rates = roofline()
    (given.out / "roofline.json").write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
    parts.speeds()
    parts.runs(given.encoder_weights)
    summary = {
        "training": training_rows(given.out, rates),
        "runs": run_rows(given.out),
        "roofline": rates,
    }
    (given.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()

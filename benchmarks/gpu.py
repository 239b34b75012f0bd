"""Everything that needs a GPU, in one call that ends in time and keeps what it has if it is stopped.

    python benchmarks/gpu.py --data DIR/Kvasir-SEG --minutes 25 --out results [--encoder-weights FILE]

Parts, in this order, each with its share of the time: roofline, training against the reference loop (eager and compiled),
validation, prediction, latency, feeding, then two trainings at 352 pixels on effisegnet-800-100-100.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def roofline() -> dict[str, float]:
    """Measured memory bandwidth in GB/s and matrix rates in TFLOP/s."""
    import torch

    def seconds(work, repeat: int = 20) -> float:
        work()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeat):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / repeat

    block = torch.empty(2**28, device="cuda")
    found = {"copy_gb_s": 2 * block.nbytes / seconds(lambda: block.clone()) / 1e9}
    for name, dtype, tf32 in (("fp32", torch.float32, False), ("tf32", torch.float32, True), ("bf16", torch.bfloat16, False),
                              ("fp16", torch.float16, False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
        found[f"matmul_{name}_tflop_s"] = 2 * 8192**3 / seconds(lambda a=a, b=b: a @ b) / 1e12
    return {name: round(value, 1) for name, value in found.items()}


def main() -> None:
    """Run the parts that fit into the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder-weights", default="imagenet")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * given.minutes

    def call(name: str, *command: object, limit: float = 300) -> None:
        left = min(limit, until - time.monotonic())
        if left < 20:
            print(f"{name}: left out, no time", flush=True)
            return
        with open(given.out / f"{name}.log", "w", encoding="utf-8") as log:
            try:
                code = subprocess.run([sys.executable, *map(str, command)], stdout=log, stderr=subprocess.STDOUT, timeout=left,
                                      check=False).returncode
            except subprocess.TimeoutExpired:
                code = "out of time"
        print(f"{name}: {code}, {until - time.monotonic():.0f} s left", flush=True)

    (given.out / "roofline.json").write_text(json.dumps(roofline(), indent=2) + "\n", encoding="utf-8")
    against = (HERE / "training.py", "--data", given.data, "--images", 800)
    call("training", *against, "--out", given.out / "training-gpu.json")
    call("training-compiled", *against, "--networks", "unet-32", "--compile", "--out", given.out / "training-gpu-compiled.json",
         limit=180)
    call("validation", *against, "--networks", "unet-32", "--validation", "--out", given.out / "validation-gpu.json", limit=120)
    for what in ("predict", "latency", "data"):
        call(f"bench-{what}", "-m", "medseg", "bench", what, "--size", 352, "--batch-size", 32, "--seconds", 15, "--json", limit=60)
    root = Path(given.data).parent
    common = ("-m", "medseg", "train", "--data", "kvasir-seg", "--data-root", root, "--split", "effisegnet-800-100-100", "--size",
              352, "--batch-size", 16, "--no-progress")
    half = max(0.5, (until - time.monotonic()) / 60 / 2 - 0.7)
    call("train-lite0", *common, "--model", "smp", "--encoder", "tu-tf_efficientnet_lite0", "--encoder-weights",
         given.encoder_weights, "--epochs", 300, "--time-budget", f"{half:.1f}min", "--out", given.out / "lite0", limit=3600)
    call("train-unet", *common, "--model", "unet", "--epochs", 300, "--time-budget", f"{half:.1f}min", "--out",
         given.out / "unet", limit=3600)


if __name__ == "__main__":
    main()

"""Frames per second on one core: exported files, frame to mask, against UltraSeg-130K's network.

python benchmarks/realtime.py model.xml model.onnx --size 256 --frame 288x384

The reference is the network alone in eager PyTorch, at --size, without preprocessing; a file takes
a decoded frame of --frame and gives its mask at that size. All in turns, each in a process of its
own.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from ultraseg import UltraSeg

from medseg.bench.exported import CALLS, of_file
from medseg.bench.turns import Reading, Work, in_turns


def reference(size: int, threads: int) -> Work:
    """UltraSeg in eval mode, one image after another."""
    torch.set_num_threads(threads)
    network = UltraSeg().eval()
    image = torch.randn(1, 3, size, size)

    def step() -> Reading:
        calls = []
        with torch.inference_mode():
            for _ in range(CALLS):
                started = time.perf_counter()
                network(image)
                calls.append(time.perf_counter() - started)
        return Reading(CALLS, sum(calls), calls=calls)

    return step


def main() -> None:
    """Measure, print a table, and JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frame", default="288x384")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    frame = tuple(map(int, given.frame.split("x")))
    variants = {f"UltraSeg-130K, network, {given.size}": (reference, (given.size, given.threads))}
    variants |= {file: (of_file, (file, frame, given.threads, "auto")) for file in given.files}
    found = in_turns(variants, seconds=given.seconds)
    slowest = next(iter(found.values()))["images_per_second"]
    for name, each in found.items():
        print(
            f"{each['images_per_second']:7.1f} frames/s  {each['images_per_second'] / slowest:5.2f}"
            f" times  median {each['p50_ms']:6.1f} ms  99 % within {each['p99_ms']:6.1f} ms  {name}"
        )
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

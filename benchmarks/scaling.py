"""How cost grows with images, image size, batch and processes; tables as JSON and plots as SVG.

python benchmarks/scaling.py --counts 100 1000 10000 100000 --out docs/performance
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from medseg.reports.charts import line_chart

STYLE = (
    "<style>svg{background:#fff;font-family:sans-serif}text{fill:#444;font-size:11px}"
    ".grid{stroke:#ddd}.axis{stroke:#444}"
    ".line{fill:none;stroke-width:2}.c0{stroke:#0a5fa8}.c1{stroke:#b3541e}.c2{stroke:#2d7d46}"
    ".key{stroke:none;font-weight:600}"
    ".key.c0{fill:#0a5fa8}.key.c1{fill:#b3541e}.key.c2{fill:#2d7d46}</style>"
)


def simple_scenes(folder: Path, count: int, size: int) -> None:
    """Blurred noise with an ellipse: quick to make, and as costly to decode as a photograph."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 255, (2 * size, 2 * size, 3), np.uint8), (0, 0), 3)
    for i in range(count):
        y, x = rng.integers(0, size, 2)
        mask = np.zeros((size, size), np.uint8)
        centre = tuple(int(v) for v in rng.integers(size // 4, 3 * size // 4, 2))
        cv2.ellipse(mask, centre, (size // 6, size // 8), float(rng.integers(180)), 0, 360, 255, -1)
        image = noise[y : y + size, x : x + size].copy()
        image[mask > 0] = image[mask > 0] // 2 + 90
        cv2.imwrite(str(folder / "images" / f"{i:06}.jpg"), image)
        cv2.imwrite(str(folder / "masks" / f"{i:06}.png"), mask)


def feeding(folder: Path, size: int) -> dict[str, float]:
    """Seconds to build the cache, to open it again and for an epoch of batches; the peak memory.

    For a fresh process.
    """
    import torch

    from medseg.augment.batch import augment, sample
    from medseg.bench.turns import peak_memory
    from medseg.config import Augment
    from medseg.data.batches import TrainBatches
    from medseg.data.cache import open_store
    from medseg.data.masks import survey
    from medseg.data.sources.folder import open_dataset
    from medseg.preprocessing import Preprocessing

    dataset = open_dataset(folder, data_root=folder.parent)
    items = list(chain.from_iterable(dataset.parts.values()))
    coding = survey(items)
    preprocessing = Preprocessing((size, size), mean=(0.5,) * 3, std=(0.5,) * 3)
    cache = folder.parent / f"cache-{folder.name}-{size}"
    base = peak_memory()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        store = open_store(items, coding, preprocessing, folder=cache)
        seconds.append(time.perf_counter() - started)
    batches = TrainBatches(store, batch_size=16, seed=0, device=torch.device("cpu"))
    started = time.perf_counter()
    for batch in batches.epoch(0):
        parameters = sample(Augment(), 0, 0, batch.keys)
        augment(batch.image, batch.mask, parameters, Augment(), preprocessing)
    return {
        "images": len(items),
        "build_s": round(seconds[0], 3),
        "open_s": round(seconds[1], 3),
        "epoch_s": round(time.perf_counter() - started, 3),
        "cache_mib": round(store.nbytes / 2**20, 1),
        "memory_before_mib": base,
        "memory_mib": peak_memory(),
        "own_memory_mib": own_memory(),
    }


def own_memory() -> float | None:
    """MiB of memory that the system cannot take back, unlike the pages of the mapped cache.

    None where the system does not tell.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("RssAnon"):
            return round(int(line.split()[1]) / 1024, 1)
    return None


def alone(function: str, *arguments: object) -> dict[str, float]:
    """Call a function of this file in a process of its own."""
    words = ", ".join(map(repr, arguments)).replace("PosixPath", "Path")
    code = (
        f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); import scaling;"
        f" from pathlib import Path; print(json.dumps(scaling.{function}({words})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def step(size: int, batch_size: int) -> dict[str, float]:
    """Seconds of a training step of U-Net, base 16, and the peak memory."""
    from medseg.bench.inputs import scenes
    from medseg.bench.training import train
    from medseg.bench.turns import peak_memory
    from medseg.config import TrainConfig, make

    options = {"data": "x", "base_channels": 16, "size": size, "batch_size": batch_size}
    with tempfile.TemporaryDirectory() as folder:
        scenes(Path(folder), count=max(32, batch_size))
        turn = train(make(TrainConfig, options), Path(folder))
        readings = [turn() for _ in range(3)]
    speed = statistics.median(reading.images / reading.seconds for reading in readings)
    return {
        "size": size,
        "batch_size": batch_size,
        "images_per_second": round(speed, 2),
        "memory_mib": peak_memory(),
    }


def processes(folder: Path, count: int) -> dict[str, float]:
    """Images per second of an epoch of `medseg train` with `count` processes of one thread each."""
    out = Path(tempfile.mkdtemp())
    options = {
        "--data": folder,
        "--base-channels": 16,
        "--size": 128,
        "--batch-size": 16,
        "--epochs": 2,
        "--threads": 1,
        "--devices": count,
        "--accelerator": "cpu",
        "--out": out / "run",
    }
    command = [sys.executable, "-m", "medseg", "train", "--no-progress", "--no-tensorboard"]
    for flag, value in options.items():
        command += [flag, str(value)]
    subprocess.run(command, check=True, capture_output=True)
    from medseg.files import read_csv

    rows = read_csv(out / "run" / "metrics.csv")
    return {"processes": count, "images_per_second": rows[-1]["images_per_second"]}


def plot(path: Path, series: dict, x_label: str, y_label: str) -> None:
    """A chart as a file of its own."""
    svg = str(line_chart(series, x_label=x_label, y_label=y_label))
    path.write_text(svg.replace("</title>", f"</title>{STYLE}", 1) + "\n", encoding="utf-8")


def plots(folder: Path, found: dict[str, list]) -> None:
    """A chart for each relation."""
    plot_images(folder, found["images"])
    sizes = [(row["size"] ** 2 / 1000, 1000 / row["images_per_second"]) for row in found["size"]]
    plot(folder / "size.svg", {"milliseconds an image": sizes}, "thousand pixels", "ms")
    batches = found["batch"]
    memory = [(row["batch_size"], row["memory_mib"]) for row in batches]
    plot(folder / "batch.svg", {"peak memory": memory}, "batch size", "MiB")
    times = [(row["batch_size"], 1000 / row["images_per_second"]) for row in batches]
    plot(folder / "batch-time.svg", {"milliseconds an image": times}, "batch size", "ms")
    speeds = [(row["processes"], row["images_per_second"]) for row in found["processes"]]
    _, speed_of_one = speeds[0]
    ideal = [(count, count * speed_of_one) for count in (1, 2)]
    series = {"training": speeds, "one process, twice": ideal}
    plot(folder / "processes.svg", series, "processes of one thread", "images/s")


def plot_images(folder: Path, rows: list[dict[str, float]]) -> None:
    """Time and memory against the number of images."""
    plot(
        folder / "images.svg",
        {
            "build the cache": [(row["images"] / 1000, row["build_s"]) for row in rows],
            "feed an epoch": [(row["images"] / 1000, row["epoch_s"]) for row in rows],
        },
        "thousand images",
        "seconds",
    )
    plot(
        folder / "memory.svg",
        {
            "memory of its own": [(row["images"] / 1000, row["own_memory_mib"]) for row in rows],
            "resident, with mapped pages of the cache": [
                (row["images"] / 1000, row["memory_mib"]) for row in rows
            ],
            "cache on disk": [(row["images"] / 1000, row["cache_mib"]) for row in rows],
        },
        "thousand images",
        "MiB",
    )


def main() -> None:
    """Measure, write tables and plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["images", "size", "batch", "processes"],
        choices=("images", "size", "batch", "processes"),
        help="measure these anew, and keep the others of --out",
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    table = given.out / "scaling.json"
    found: dict[str, list] = json.loads(table.read_text()) if table.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if "images" in given.parts:
            found["images"] = []
            for count in given.counts:
                simple_scenes(Path(folder) / str(count), count, 96)
                found["images"].append(alone("feeding", Path(folder) / str(count), 64))
                print(found["images"][-1], flush=True)
        if "size" in given.parts:
            found["size"] = [alone("step", size, 4) for size in (64, 128, 192, 256, 352)]
        if "batch" in given.parts:
            found["batch"] = [alone("step", 128, batch) for batch in (1, 2, 4, 8, 16)]
        if "processes" in given.parts:
            few = Path(folder) / "few"
            simple_scenes(few, 200, 128)
            found["processes"] = [alone("processes", few, count) for count in (1, 2)]
    table.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    plots(given.out, found)


if __name__ == "__main__":
    main()

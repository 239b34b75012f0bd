"""Two promises on whole commands: the cost of `--protocols all`, and the time of a check.

    python benchmarks/commands.py evaluate --run RUN --data-root DIR \\
        [--split-part validation] [--rounds 3] [--out FILE.json]
    python benchmarks/commands.py check --data DIR/Kvasir-SEG \\
        [--images 2000] [--rounds 3] [--out FILE.json]

`evaluate` runs `medseg evaluate RUN` with the three basic conventions and with all protocols in
turns (A B A B), each a process of its own, once each to warm up. Promised: all take at most twice
as long as the basic ones and 30 s more. `check` fills a temporary folder with so many pairs,
repeating those of the set mirrored so that none is an exact copy. Promised: a minute for 2,000.
Exit code 1 where a promise is broken. Promises are for two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.bench.bench import machine
from medseg.data.sources.listing import child, list_images
from medseg.data.sources.pairing import match

MEDSEG = (sys.executable, "-m", "medseg")


def timed(command: Sequence[str], *, accepted: Sequence[int] = (0,)) -> float:
    """Wall seconds of a whole command.

    Ends the benchmark with the command's errors if its exit code is not among the `accepted`.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in accepted:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return seconds


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both commands, and whether the promise holds."""
    with tempfile.TemporaryDirectory() as work:

        def command(protocols: str) -> list[str]:
            return [
                *MEDSEG,
                "evaluate",
                str(options.run),
                "--data-root",
                str(options.data_root),
                "--split-part",
                options.split_part,
                "--protocols",
                protocols,
                "--out",
                f"{work}/{protocols}",
                "--overwrite",
                "--no-progress",
            ]

        seconds: dict[str, list[float]] = {"basic": [], "all": []}
        for turn in range(-1, options.rounds):
            for protocols, found in seconds.items():
                spent = timed(command(protocols))
                if turn >= 0:  # the first turn warms the file system up
                    found.append(spent)
        summary = json.loads(Path(work, "all", "summary.json").read_text(encoding="utf-8"))
    basic = statistics.median(seconds["basic"])
    every = statistics.median(seconds["all"])
    return {
        "images": summary["n_images"],
        "seconds": rounded(seconds),
        "median": {"basic": round(basic, 2), "all": round(every, 2)},
        "promised": f"all <= 2 x basic + 30 s = {2 * basic + 30:.1f} s",
        "kept": every <= 2 * basic + 30,
    }


def check(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a check, and whether a terminal shows a progress bar meanwhile."""
    with tempfile.TemporaryDirectory() as work:
        images = fill(Path(work), options.data, options.images)
        command = [*MEDSEG, "data", "check", work]
        timed(command, accepted=(0, 1))  # the first turn warms the file system up
        seconds = [timed(command, accepted=(0, 1)) for _ in range(options.rounds)]
        bar = "/" + str(images) in on_a_terminal(command)
    middle = statistics.median(seconds)
    return {
        "images": images,
        "seconds": rounded({"check": seconds}),
        "median": round(middle, 2),
        "progress_bar": bar,
        "promised": f"{images} images in {images * 60 / 2000:.0f} s, with a progress bar",
        "kept": bar and middle <= images * 60 / 2000,
    }


def fill(folder: Path, data: Path, count: int) -> int:
    """`count` pairs in `folder`: copies of the set's, then mirrored ones; returns `count`."""
    images = list_images(child(data, ("images",)))
    masks = list_images(child(data, ("masks",)))
    pairs = [(image, found[0]) for image, found in match(images, masks) if len(found) == 1]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(count):
        image, mask = pairs[i % len(pairs)]
        if i < len(pairs):
            shutil.copy(image, folder / "images" / f"{i}{image.suffix}")
        else:
            mirror(image, folder / "images" / f"{i}{image.suffix}")
        shutil.copy(mask, folder / "masks" / f"{i}{mask.suffix}")
    return count


def mirror(image: Path, copy: Path) -> None:
    """Write the picture mirrored, so that it is no exact copy and takes as long to decode."""
    import cv2

    cv2.imwrite(str(copy), cv2.imread(str(image), cv2.IMREAD_UNCHANGED)[:, ::-1])


def on_a_terminal(command: Sequence[str]) -> str:
    """The text that a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    process.wait()
    os.close(ours)
    return shown.decode(errors="replace")


def rounded(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Seconds to hundredths, by what took them."""
    return {name: [round(each, 2) for each in found] for name, found in seconds.items()}


def main() -> int:
    """Run one of the two and print, or write, its result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("evaluate", "check"))
    parser.add_argument("--run", type=Path, help="run folder to evaluate")
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="where its data lie")
    parser.add_argument("--split-part", default="validation")
    parser.add_argument("--data", type=Path, help="folder of images and masks to check")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "evaluate":
        if options.run is None:
            parser.error("evaluate needs --run")
        found = evaluate(options)
    else:
        if options.data is None:
            parser.error("check needs --data")
        found = check(options)
    result = {"command": options.what, "machine": machine("cpu"), **found}
    text = json.dumps(result, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0 if result["kept"] else 1


if __name__ == "__main__":
    raise SystemExit(main())

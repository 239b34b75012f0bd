"""`medseg bench`: how fast this machine trains, predicts and reads, against a baseline."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.bench.exported import of_file
from medseg.bench.feeding import feed, plain_feed
from medseg.bench.inputs import scenes
from medseg.bench.prediction import latency, plain_latency, plain_predict, predict
from medseg.bench.training import plain_train, train
from medseg.bench.turns import in_turns
from medseg.config import BenchConfig, TrainConfig, make
from medseg.errors import UserError
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.training.parts import check

WORK = {
    "train": (train, plain_train),
    "predict": (predict, plain_predict),
    "latency": (latency, plain_latency),
    "data": (feed, plain_feed),
}
PLAIN = {
    "train": "fp32 contiguous eager, the loss read in every step",
    "predict": "fp32 contiguous eager, one image at a time",
    "latency": "fp32 contiguous eager, each step by itself",
    "data": "every file decoded in every epoch, the same augmentation",
}


def bench(config: BenchConfig) -> dict[str, Any]:
    """Images per second of the fast path and of the plain one, in turns, on generated scenes.

    Returns {"what", "settings", "machine", "fast", "plain", "plain_is", "speedup", "memory_ratio"};
    see `turns.in_turns` for what "fast" and "plain" hold.
    """
    if config.files:
        return _bench_files(config)
    accelerator = pick_accelerator(config.accelerator)
    precision = pick_precision(config.precision, accelerator)
    batch_size = config.batch_size or (4 if accelerator == "cpu" else 16)
    options = {
        "data": "scenes",
        "model": config.model,
        "base_channels": config.base_channels,
        "encoder": config.encoder,
        "decoder": config.decoder,
        "encoder_weights": "none",
        "size": config.size,
        "batch_size": batch_size,
        "accelerator": accelerator,
        "precision": precision,
        "threads": config.threads,
        "compile": config.compile,
    }
    chosen = {key: value for key, value in options.items() if value is not None}
    settings = make(TrainConfig, chosen)
    check(settings)
    fast, plain = WORK[config.what]
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        scenes(Path(folder), count=max(16, batch_size))
        arguments = (settings, Path(folder))
        variants = {"fast": (fast, arguments), "plain": (plain, arguments)}
        found = in_turns(variants, seconds=config.seconds)
    reported = {key: value for key, value in options.items() if key not in ("data", "threads")}
    result = {
        "what": config.what,
        "settings": reported,
        "machine": machine(accelerator),
        **found,
        "plain_is": PLAIN[config.what],
        "speedup": _ratio(found, "images_per_second"),
        "memory_ratio": _ratio(found, "peak_memory_mib"),
    }
    logger.info(summary_text(result))
    return result


def _bench_files(config: BenchConfig) -> dict[str, Any]:
    """Exported files and runs in turns: one decoded frame in, its mask out.

    Returns {"what", "frame", "threads", "machine", "files": {path: what `in_turns` found}}.
    """
    if config.what != "latency":
        raise UserError(f"bench {config.what}: takes no FILE; give bench latency FILE ...")
    threads = config.threads or cores()
    variants = {
        file: (of_file, (file, config.frame, threads, config.precision)) for file in config.files
    }
    found = in_turns(variants, seconds=config.seconds)
    height, width = config.frame
    logger.info(f"one frame of {height}x{width} after another, {threads} threads, frame to mask:")
    for file, part in found.items():
        logger.info(
            f"  {part['images_per_second']:8.1f} frames/s   median {part['p50_ms']:.1f} ms   99 %"
            f" within {part['p99_ms']:.1f} ms   {part['peak_memory_mib']:.0f} MiB   {file}"
        )
    return {
        "what": "latency",
        "frame": [height, width],
        "threads": threads,
        "machine": machine("cpu"),
        "files": found,
    }


def _ratio(found: dict[str, dict[str, Any]], key: str) -> float:
    """What the fast way measured over what the plain one did."""
    return round(found["fast"][key] / found["plain"][key], 2)


def machine(accelerator: str) -> dict[str, Any]:
    """The hardware and the versions that a speed depends on."""
    import torch

    if accelerator == "cuda":
        device = torch.cuda.get_device_name()
    else:
        device = platform.processor() or platform.machine()
    return {
        "device": device,
        "cores": cores(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def summary_text(result: dict[str, Any]) -> str:
    """The result of `bench` in words, one line per way."""
    lines = [f"{result['what']}: {result['speedup']:.2f} times the baseline ({result['plain_is']})"]
    for name in ("fast", "plain"):
        part = result[name]
        line = (
            f"  {name:5} {part['images_per_second']:9.2f} images/s   peak memory"
            f" {part['peak_memory_mib']:.0f} MiB   median of {part['turns']} turns"
        )
        stages = [f"{stage} {100 * share:.1f} %" for stage, share in part["stages"].items()]
        if stages:
            line += f"   {', '.join(stages)}"
        lines.append(line)
    return "\n".join(lines)

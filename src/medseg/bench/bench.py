"""`medseg bench`: how fast this machine trains, predicts and feeds, against the plain way of doing
the same.
"""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.bench.turns import in_turns
from medseg.bench.work import (
    feed,
    latency,
    plain_feed,
    plain_latency,
    plain_predict,
    plain_train,
    predict,
    scenes,
    train,
)
from medseg.config import BenchConfig, TrainConfig, make
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
    settings = make(
        TrainConfig, {key: value for key, value in options.items() if value is not None}
    )
    check(settings)
    fast, plain = WORK[config.what]
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        scenes(Path(folder), count=max(16, batch_size))
        found = in_turns(
            {"fast": (fast, (settings, Path(folder))), "plain": (plain, (settings, Path(folder)))},
            seconds=config.seconds,
        )
    result = {
        "what": config.what,
        "settings": {
            key: value for key, value in options.items() if key not in ("data", "threads")
        },
        "machine": machine(accelerator),
        **found,
        "plain_is": PLAIN[config.what],
        "speedup": round(
            found["fast"]["images_per_second"] / found["plain"]["images_per_second"], 2
        ),
        "memory_ratio": round(
            found["fast"]["peak_memory_mib"] / found["plain"]["peak_memory_mib"], 2
        ),
    }
    logger.info(describe(result))
    return result


def machine(accelerator: str) -> dict[str, Any]:
    """What a speed depends on besides the code."""
    import torch

    device = (
        torch.cuda.get_device_name()
        if accelerator == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "device": device,
        "cores": cores(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def describe(result: dict[str, Any]) -> str:
    """The result in words."""
    lines = [
        f"{result['what']}: {result['speedup']:.2f} times the plain way ({result['plain_is']})"
    ]
    for name in ("fast", "plain"):
        part = result[name]
        stages = ", ".join(
            f"{stage} {100 * share:.1f} %" for stage, share in part["stages"].items()
        )
        lines.append(
            f"  {name:5} {part['images_per_second']:9.2f} images/s   peak memory"
            f" {part['peak_memory_mib']:.0f} MiB   median of {part['turns']}"
            f" turns{'   ' + stages if stages else ''}"
        )
    return "\n".join(lines)

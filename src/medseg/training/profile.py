"""`medseg train --profile`: where the time of a step goes, as a trace and as a log line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch.profiler import ProfilerActivity, profile, record_function, schedule

# steps to skip, to warm up and to record: the first are slower, the profiler needs one for itself
SKIP, WARM, STEPS = 2, 1, 6


class StageTimer:
    """Seconds in each stage of a step.

    It waits for the device at the end of each stage: for measuring, not for training at full speed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `seconds[name]`."""
        started = time.perf_counter()
        yield
        wait_for(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class Profile:
    """Records a few steps of a training into RUN/profile.json.

    Within its context, `stage(name)` marks the stages of a step, the first of them "data".
    """

    def __init__(self, run: Path, device: torch.device) -> None:
        self.run = run
        self._timer = StageTimer(device)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        self._profiler = profile(
            activities=activities,
            schedule=schedule(wait=SKIP, warmup=WARM, active=STEPS, repeat=1),
            on_trace_ready=self._write,
            acc_events=True,
        )
        self._step, self._worked = 0, False

    def __enter__(self) -> Profile:
        self._profiler.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._profiler.__exit__(*error)
        if not (self.run / "profile.json").exists():
            logger.warning(
                f"--profile: needs {SKIP + WARM + STEPS} steps, there were {self._step}; raise"
                " --epochs"
            )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Mark what runs inside as a stage of the step."""
        # at the end of an epoch the stage "data" comes once without a step
        if name == "data" and self._worked:
            self._step += 1
            self._profiler.step()
        self._worked = name != "data"
        if SKIP + WARM <= self._step < SKIP + WARM + STEPS:
            with self._timer.stage(name), record_function(f"medseg: {name}"):
                yield
        else:
            yield

    def _write(self, profiler: Any) -> None:
        if self._step < SKIP + WARM + STEPS:
            return  # the training ended before the recording did
        trace = self.run / "profile.json"
        profiler.export_chrome_trace(str(trace))
        on_gpu = self._timer.device.type == "cuda"
        kind = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        operations = {
            event.key: getattr(event, kind) / 1e6
            for event in profiler.key_averages()
            if not event.key.startswith(("medseg: ", "ProfilerStep"))
        }
        times = step_times(self._timer.seconds, operations)
        logger.info(f"{times}  {trace} (open it at ui.perfetto.dev)")


def step_times(stages: Mapping[str, float], operations: Mapping[str, float]) -> str:
    """One line: milliseconds per step, the share of each stage, the slowest operation.

    `stages` and `operations` hold seconds over all recorded steps.
    """
    whole = sum(stages.values())
    ranked = sorted(stages.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {100 * seconds / whole:.0f} %" for name, seconds in ranked)
    slowest = max(operations, key=operations.__getitem__)
    return (
        f"{1000 * whole / STEPS:.1f} ms per step; slowest part: {ranked[0][0]} ({shares});"
        f" slowest operation: {slowest} ({100 * operations[slowest] / whole:.0f} %)"
    )


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished all that was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

"""Where the results of a training go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config.fields import option


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where results go."""

    out: Path | None = option(None, "new run folder (default: runs/DATA-MODEL-TIME)", metavar="DIR")
    resume: Path | None = option(None, "resume this run where it stopped", metavar="RUN")
    tensorboard: bool = option(True, "write TensorBoard curves and pictures")
    pictures: int = option(4, "validation images drawn in TensorBoard", at_least=0, at_most=64)
    log_every: int = option(10, "steps between readings of the loss", at_least=1)
    progress: bool = option(True, "show a progress bar")

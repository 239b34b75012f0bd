"""medseg trains, evaluates and ships 2-D medical image segmentation networks.

    summaries = medseg.train(data="data/Kvasir-SEG", model="unet", out="runs/mine")["summaries"]
    summary = medseg.evaluate("runs/mine")
    mask = medseg.Predictor.load("runs/mine")("image.jpg")

Imports torch only when something is asked of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medseg.version import __version__

if TYPE_CHECKING:
    from medseg.config import TrainConfig
    from medseg.inference.predictor import Predictor
    from medseg.models import create_model

__all__ = [
    "Predictor",
    "TrainConfig",
    "__version__",
    "create_model",
    "evaluate",
    "predict",
    "train",
]

_WHERE = {
    "Predictor": "medseg.inference.predictor",
    "TrainConfig": "medseg.config",
    "create_model": "medseg.models",
}


def train(config: TrainConfig | None = None, **options: Any) -> dict[str, Any]:
    """Train; the options are those of `medseg train` with underscores, or a `TrainConfig`.

    Returns {"run": folder, "summaries": {"validation": ..., "test": ...}}. Raises
    `medseg.errors.UserError` for wrong use.
    """
    from medseg.data.decode import set_max_pixels
    from medseg.training.repeat import train as run
    from medseg.training.resume import config_from

    if config is None:
        config = config_from(options)
    set_max_pixels(config.data.max_pixels)
    return run(config)


def evaluate(run: Any, **options: Any) -> dict[str, Any]:
    """Evaluate a run; the options are those of `medseg evaluate`.

    Returns the content of summary.json.
    """
    from medseg.config import EvaluateConfig, make
    from medseg.data.decode import set_max_pixels
    from medseg.reports.evaluation import evaluate_with_report

    config = make(EvaluateConfig, {"run": run, **options})
    set_max_pixels(config.max_pixels)
    return evaluate_with_report(config)


def predict(run: Any, images: Any, out: Any, **options: Any) -> dict[str, Any]:
    """Write predicted masks; the options are those of `medseg predict`.

    Returns what was written and what failed.
    """
    from medseg.config import PredictConfig, make
    from medseg.data.decode import set_max_pixels
    from medseg.inference.predict import predict as write

    config = make(PredictConfig, {"run": run, "images": images, "out": out, **options})
    set_max_pixels(config.max_pixels)
    return write(config)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")

"""`medseg calibrate`: one temperature for a run's probabilities, fitted on its validation part.

Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from loguru import logger

from medseg.config import CalibrateConfig
from medseg.console import progress, to_json
from medseg.data.batches import evaluation_batches
from medseg.data.cache import Store
from medseg.data.masks import IGNORED
from medseg.errors import UserError
from medseg.evaluation import calibration
from medseg.evaluation.evaluate import (
    Options,
    backend_of,
    cache_dir_of,
    decision_of,
    open_native_store,
)
from medseg.evaluation.reading import own_coding
from medseg.evaluation.targets import is_own, own_target
from medseg.files import write_text
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.inference.backends import Backend
from medseg.inference.postprocess import margins, probabilities
from medseg.runs import Run

SAMPLES = 20_000  # pixels per image, evenly spread over it
LOWEST, HIGHEST = 0.05, 20.0  # temperatures


def calibrate(config: CalibrateConfig) -> dict[str, Any]:
    """Fit the temperature and store it in the run's checkpoint, with calibration.json beside it.

    At most 20,000 pixels of each image count, evenly spread, so that each image of at least this
    size counts the same. The predicted mask stays what it was, to the last pixel. Returns
    {"temperature", "data", "part", "images", "notes", "pixels", "before", "after"}, with the
    likelihood (nll), ECE and Brier score of the same pixels at temperature 1 and at the new one.
    Raises `UserError` where images of the validation part are gone.
    """
    run = Run.open(config.run)
    workers = config.workers or cores()
    if config.data is not None and not is_own(run, "validation", config):
        raise UserError(
            f"--data {config.data}: its images are not those that {run.folder} was selected by; a"
            " temperature is fitted on the run's own validation part, so give its new place"
        )
    target = own_target(run, "validation", config, workers)
    coding = own_coding(run, target, config)
    logger.info(coding.text)
    decision = decision_of(run, coding)
    accelerator = pick_accelerator(config.accelerator)
    precision = pick_precision(config.precision, accelerator)
    backend = backend_of(run, accelerator, precision)
    options = Options(config.batch_size, config.workers, cache_dir_of(run), progress=False)
    store = open_native_store(backend, target.items, coding, decision, options)
    with progress("calibrate", show=config.progress) as advance:
        logits, truth = sample(
            backend,
            store,
            batch_size=config.batch_size,
            progress=advance,
        )
    temperature = calibration.fit_temperature(logits, truth, low=LOWEST, high=HIGHEST)
    if not LOWEST * 1.001 < temperature < HIGHEST / 1.001:
        logger.warning(
            f"the temperature reached its bound {temperature:.3g}: the validation part does not"
            " determine one"
        )
    result = {
        "temperature": temperature,
        "data": target.dataset.name,
        "part": "validation",
        "images": len(target.items),
        "notes": list(target.dataset.notes),
        "pixels": len(truth),
        "before": scores(logits, truth, 1.0),
        "after": scores(logits, truth, temperature),
    }
    run.with_temperature(temperature)
    write_text(run.folder / "calibration.json", to_json(result))
    logger.info(
        f"temperature {temperature:.3f} from {len(target.items)} validation images: ECE"
        f" {result['before']['ece']:.4f} -> {result['after']['ece']:.4f}; stored in {run.file}"
    )
    return result


def sample(
    backend: Backend,
    store: Store,
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Margins float32 [N, K] (K is 1 for two classes) and classes uint8 [N] of sampled pixels.

    They are evenly spread over all images.
    """
    logits, truth = [], []
    done = 0
    for index, image in evaluation_batches(store, batch_size=batch_size, device=backend.device):
        natives = [store.native[i] for i in index]
        batch_margins = margins(backend.logits(image), natives, backend.preprocessing)
        for i, margin in zip(index, batch_margins, strict=True):
            mask = np.array(store.mask(i)).ravel()
            at = np.linspace(0, mask.size - 1, min(SAMPLES, mask.size)).astype(np.int64)
            at = at[mask[at] != IGNORED]
            picked = margin.flatten(1)[:, torch.from_numpy(at).to(backend.device)]
            logits.append(picked.T.cpu().numpy())
            truth.append(mask[at])
        done += len(index)
        if progress:
            progress(done, len(store))
    return np.concatenate(logits), np.concatenate(truth)


def scores(logits: np.ndarray, truth: np.ndarray, temperature: float) -> dict[str, float]:
    """{"nll", "ece", "brier"} of the foreground probability at a temperature."""
    shares = probabilities(torch.from_numpy(logits.T[:, None]), temperature)[:, 0].T.numpy()
    table = calibration.summarise(calibration.bins(1 - shares[:, 0], truth > 0))
    return {
        "nll": calibration.likelihood(shares, truth),
        "ece": table["ece"],
        "brier": table["brier"],
    }

"""`medseg calibrate`: one temperature for a run's probabilities, fitted on its validation part (Guo
et al. 2017).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from loguru import logger

from medseg import checkpoint
from medseg.config import CalibrateConfig, EvaluateConfig, make
from medseg.console import progress, to_json
from medseg.data.batches import evaluation_batches
from medseg.data.cache import Form, Store, open_store
from medseg.data.masks import survey
from medseg.evaluation import calibration
from medseg.evaluation.run import dataset_and_items
from medseg.files import write_text
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.prediction.inference import forward, load_network, margins, probabilities

SAMPLES = 20_000  # pixels an image, evenly spread over it


def calibrate(config: CalibrateConfig) -> dict[str, Any]:
    """Fit the temperature and store it in the checkpoint that the run stands for, with
    calibration.json beside it.

    At most 20,000 pixels of each image count, evenly spread, so that each image of at least this
    size counts the same. The mask that is predicted stays what it was, to the last pixel. Returns
    {"temperature", "images", "pixels", "before", "after"}, with the likelihood (nll), ECE and Brier
    score of the same pixels at temperature 1 and at the new one.
    """
    stored = checkpoint.load(config.run)
    run = config.run if config.run.is_dir() else config.run.parent
    given = checkpoint.input_of(stored)
    root = {} if config.data_root is None else {"data_root": config.data_root}
    dataset, items = dataset_and_items(
        make(EvaluateConfig, {"run": config.run, "split_part": "validation", **root}), stored, run
    )
    workers = config.workers or cores()
    coding = survey(items, kind=stored["mask_kind"], classes=stored["classes"], workers=workers)
    ignore = stored["config"]["ignore_index"]
    form = Form(
        given.size,
        given.resize,
        given.channels,
        given.bit_depth,
        native_masks=True,
        ignore_index=ignore,
    )
    store = open_store(items, coding, form, workers=workers)
    accelerator = pick_accelerator(config.accelerator)
    with progress("calibrate", show=config.progress) as advance:
        logits, truth = sample(
            load_network(stored, accelerator),
            store,
            given,
            device=torch.device(accelerator),
            precision=pick_precision(config.precision, accelerator),
            batch_size=config.batch_size,
            ignore_index=ignore,
            progress=advance,
        )
    low, high = 0.05, 20.0
    temperature = calibration.fit_temperature(logits, truth, low=low, high=high)
    if not low * 1.001 < temperature < high / 1.001:
        logger.warning(
            f"the temperature ran to its bound {temperature:.3g}: the validation part does not"
            " determine one"
        )
    result = {
        "temperature": temperature,
        "data": dataset.name,
        "part": "validation",
        "images": len(items),
        "pixels": len(truth),
        "before": scores(logits, truth, 1.0),
        "after": scores(logits, truth, temperature),
    }
    file = checkpoint.find(config.run)
    checkpoint.save(file, stored | {"temperature": temperature})
    write_text(run / "calibration.json", to_json(result))
    logger.info(
        f"temperature {temperature:.3f} from {len(items)} validation images: ECE"
        f" {result['before']['ece']:.4f} -> {result['after']['ece']:.4f}; stored in {file}"
    )
    return result


def sample(
    model: torch.nn.Module,
    store: Store,
    given: checkpoint.Input,
    *,
    device: torch.device,
    precision: str,
    batch_size: int,
    ignore_index: int,
    progress: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Margins float32 [N, K] (K is 1 for two classes) and classes uint8 [N] of evenly spread pixels
    of all images.
    """
    mean, std = given.constants(device)
    logits, truth = [], []
    done = 0
    for index, image in evaluation_batches(store, batch_size=batch_size, device=device):
        native = margins(
            forward(model, image, mean, std, precision), [store.native[i] for i in index], given
        )
        for i, margin in zip(index, native, strict=True):
            mask = np.array(store.mask(i)).ravel()
            at = np.linspace(0, mask.size - 1, min(SAMPLES, mask.size)).astype(np.int64)
            at = at[mask[at] != ignore_index]
            logits.append(margin.flatten(1)[:, torch.from_numpy(at).to(device)].T.cpu().numpy())
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

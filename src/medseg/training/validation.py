"""The networks of a training evaluated: each epoch on validation, the chosen one on all parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from loguru import logger
from torch import nn

from medseg.config import TrainConfig
from medseg.data.remembered import remember_digests
from medseg.errors import UserError
from medseg.evaluation.conventions import PER_IMAGE, POOLED
from medseg.evaluation.counting import Counted, Decision, count
from medseg.evaluation.evaluate import Options, evaluate_items, subject_of
from medseg.evaluation.intervals import headline
from medseg.evaluation.targets import reported_target
from medseg.hardware import cores
from medseg.inference.backends import TorchBackend
from medseg.models.fold import fold_batch_norm
from medseg.reports.evaluation import write_report
from medseg.runs import Run
from medseg.training.callbacks import Pictures, draw
from medseg.training.parts import Parts


@dataclass
class Validation:
    """Evaluates at the native size of each mask, in the precision of the training."""

    config: TrainConfig
    fabric: Fabric
    precision: str
    parts: Parts
    latest: Counted | None = None  # what the latest validation has counted

    def metrics(self, network: nn.Module, *, keep: int = 0) -> dict[str, float]:
        """The metrics on the validation images, each process counting its share.

        dice, iou and the like are means over images, pooled_dice and pooled_iou are of the sums.
        The predictions of the first `keep` images are kept for `pictures`.
        """
        network = fold_batch_norm(network, self.parts.preprocessing.channels)
        counted = count(
            self._backend(network.to(memory_format=torch.channels_last)),
            self.parts.validation,
            self._decision(),
            batch_size=self._batch_size(),
            shard=(self.fabric.global_rank, self.fabric.world_size),
            keep=range(keep),
        )
        if self.fabric.world_size > 1:
            counts = torch.from_numpy(counted.counts).to(self.fabric.device)
            counted.counts = self.fabric.all_reduce(counts, reduce_op="sum").cpu().numpy()
        self.latest = counted
        numbers = PER_IMAGE.summarise(counted.counts)
        pooled = POOLED.summarise(counted.counts)
        return numbers | {"pooled_dice": pooled["dice"], "pooled_iou": pooled["iou"]}

    def pictures(self) -> Pictures:
        """The kept images of the latest validation with their outlines, at the input size."""
        store, fit_mask = self.parts.validation, self.parts.preprocessing.fit_mask
        index = sorted(self.latest.masks)
        return draw(
            [store.names[i] for i in index],
            [store.image(i) for i in index],
            [fit_mask(store.mask(i)) for i in index],
            [fit_mask(self.latest.masks[i]) for i in index],
        )

    def report(self, folder: Path) -> dict[str, Any]:
        """Reports of the run's chosen weights on validation and, this once, on test.

        Returns {part: summary}.
        """
        run = Run.open(folder)
        summaries = {}
        for part in ("validation", "test"):
            if not self.parts.dataset.parts.get(part):
                continue
            try:
                summaries[part] = self._report(run, part)
            except UserError as error:  # the test part is first opened here
                raise UserError(
                    f"{error}. The training is complete: then run medseg evaluate {folder}"
                    f" --split-part {part}"
                ) from None
        return summaries

    def _report(self, run: Run, part: str) -> dict[str, Any]:
        """The summary of one part, its two files of numbers and its report written."""
        data = self.config.data
        workers = data.workers or cores()
        target = reported_target(run, self.parts.dataset, part, workers)
        folder = run.folder / "report" / part
        evaluation = evaluate_items(
            self._backend(run.network(self.fabric.device)),
            target.items,
            self.parts.coding,
            self._decision(),
            subject_of(run, target),
            Options(self._batch_size(), data.workers, data.cache_dir, self.config.output.progress),
        )
        if part == "test":  # first read here; the others were when the run was started
            remember_digests(run.folder, {part: target.items}, workers)
        evaluation.write(folder)
        write_report(folder / "report.html", evaluation)
        logger.info(f"{part}: {headline(evaluation.summary)}  {folder / 'report.html'}")
        return evaluation.summary

    def _backend(self, network: nn.Module) -> TorchBackend:
        return TorchBackend(network, self.parts.preprocessing, self.fabric.device, self.precision)

    def _decision(self) -> Decision:
        return Decision(self.parts.coding.classes)

    def _batch_size(self) -> int:
        """Images per validation step of each process."""
        training = self.config.training
        return training.val_batch_size or training.batch_size // self.fabric.world_size

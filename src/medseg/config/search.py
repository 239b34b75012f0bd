"""The options of `medseg search`: those of a training, and of the study."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.config.augment import Augment
from medseg.config.data import Data
from medseg.config.distill import Distill
from medseg.config.fields import duration, option
from medseg.config.hardware import Hardware
from medseg.config.loss import Loss
from medseg.config.model import Model
from medseg.config.optim import Optim
from medseg.config.output import Output
from medseg.config.training import Training


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is tried, how it is chosen, and where the study is kept."""

    trials: int = option(
        100, "trials of the study, over all workers and all calls of the command", at_least=1
    )
    study: str = option("search", "name of the study; an existing one is resumed")
    storage: str | None = option(
        None,
        "SQLAlchemy URL of the database, such as postgresql://USER@HOST/NAME (default: the "
        "environment variable MEDSEG_STORAGE, else a SQLite file in --out)",
        metavar="URL",
    )
    space: Path | None = option(
        None,
        "YAML file of config paths with distributions (default: the space in docs/search.md)",
        metavar="FILE",
    )
    sampler: str = option(
        "tpe",
        "sampler of Optuna; cmaes and gp need extra packages",
        choices=("tpe", "random", "cmaes", "gp"),
    )
    pruner: str = option(
        "median",
        "pruner of Optuna, which stops unpromising trials early",
        choices=("median", "hyperband", "none"),
    )
    startup: int = option(
        5, "median: trials that run to their end before any is pruned", at_least=0
    )
    grace: float = option(
        120.0,
        "a worker that has not reported for this long counts as lost, and its trial is retried",
        parse=duration,
        metavar="TIME",
    )
    retrain: bool = option(
        True, "after the study, train the best and the default options in full and test each once"
    )
    dashboard: bool = option(False, "open optuna-dashboard on the study instead of working on it")
    json: bool = option(False, "print search.json to standard output")


@dataclass(frozen=True, kw_only=True)
class SearchData(Data):
    """Which images; two options mean something else than in training."""

    folds: int | None = option(
        0,
        "score a trial by cross-validation with this many folds over train and validation, groups"
        " kept together; 0: on the validation part",
        at_least=0,
    )
    workers: int = option(
        1,
        "worker processes on this machine; 0, as in a training recipe, counts as 1",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search for better training options on validation data; test the best ones once.

    Every option of 'medseg train' is also an option here.
    """

    search: Search = field(default_factory=Search)
    data: SearchData = field(default_factory=SearchData)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    distill: Distill = field(default_factory=Distill)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    training: Training = field(default_factory=Training)
    hardware: Hardware = field(default_factory=Hardware)
    output: Output = field(default_factory=Output)

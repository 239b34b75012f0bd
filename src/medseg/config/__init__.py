"""Configs are frozen dataclasses that flags, YAML files and Python keywords fill alike.

Imports no torch. Names are unique across the sections of a config, so that a flag, a YAML key and a
Python keyword are all the bare name.
"""

from medseg.config.augment import Augment
from medseg.config.bench import BenchConfig
from medseg.config.data import Data
from medseg.config.data_commands import (
    CatalogConfig,
    CheckConfig,
    ConvertConfig,
    LeaksConfig,
    ModelsConfig,
    PrepareConfig,
    SplitConfig,
    SynthesizeConfig,
)
from medseg.config.distill import Distill
from medseg.config.evaluate import CalibrateConfig, CompareConfig, EvaluateConfig, LintConfig
from medseg.config.export import ExportConfig
from medseg.config.hardware import Hardware
from medseg.config.loss import Loss
from medseg.config.model import Model
from medseg.config.optim import Optim
from medseg.config.output import Output
from medseg.config.parse import arguments, dump, flatten, make, parse, read_yaml
from medseg.config.predict import PredictConfig
from medseg.config.search import SearchConfig
from medseg.config.train import TrainConfig
from medseg.config.training import Training

__all__ = [
    "Augment",
    "BenchConfig",
    "CalibrateConfig",
    "CatalogConfig",
    "CheckConfig",
    "CompareConfig",
    "ConvertConfig",
    "Data",
    "Distill",
    "EvaluateConfig",
    "ExportConfig",
    "Hardware",
    "LeaksConfig",
    "LintConfig",
    "Loss",
    "Model",
    "ModelsConfig",
    "Optim",
    "Output",
    "PredictConfig",
    "PrepareConfig",
    "SearchConfig",
    "SplitConfig",
    "SynthesizeConfig",
    "TrainConfig",
    "Training",
    "arguments",
    "dump",
    "flatten",
    "make",
    "parse",
    "read_yaml",
]

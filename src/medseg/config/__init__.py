"""Configs are frozen dataclasses; flags, YAML files and Python keywords fill them by the same
rules.
"""

from medseg.config.parse import arguments, dump, flatten, make, parse, read_yaml
from medseg.config.schema import (
    BenchConfig,
    CalibrateConfig,
    CheckConfig,
    CompareConfig,
    EvaluateConfig,
    LeaksConfig,
    LintConfig,
    ListConfig,
    PredictConfig,
    PrepareConfig,
    SearchConfig,
    SplitConfig,
    SynthesizeConfig,
    TrainConfig,
)

__all__ = [
    "BenchConfig",
    "CalibrateConfig",
    "CheckConfig",
    "CompareConfig",
    "EvaluateConfig",
    "LeaksConfig",
    "LintConfig",
    "ListConfig",
    "PredictConfig",
    "PrepareConfig",
    "SearchConfig",
    "SplitConfig",
    "SynthesizeConfig",
    "TrainConfig",
    "arguments",
    "dump",
    "flatten",
    "make",
    "parse",
    "read_yaml",
]

"""One training loop, and the run folder it fills."""

from trueline.train._checkpoint import check_same_config
from trueline.train._config import (
    AugmentConfig,
    ContrastiveConfig,
    DataConfig,
    ModelConfig,
    NoiseConfig,
    NormaliseConfig,
    ObjectiveConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StabilityConfig,
    TrainingConfig,
)
from trueline.train._config_file import dump_config, load_config, parse_config, with_overrides, with_values
from trueline.train._interrupt import Interrupted, StopRequest
from trueline.train._load_model import load_model
from trueline.train._loop import train
from trueline.train._non_finite import NonFiniteLossError
from trueline.train._run_folder import Beliefs, Pictures, Predictions, RunFolder
from trueline.train._schedule import learning_rate_factor
from trueline.train._score import score_run

__all__ = [  # noqa: RUF022  grouped by what they are
    # configurations
    "AugmentConfig",
    "ContrastiveConfig",
    "DataConfig",
    "ModelConfig",
    "NoiseConfig",
    "NormaliseConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "RunConfig",
    "ScheduleConfig",
    "StabilityConfig",
    "TrainingConfig",
    "check_same_config",
    "dump_config",
    "load_config",
    "parse_config",
    "with_overrides",
    "with_values",
    # run folders
    "Beliefs",
    "Pictures",
    "Predictions",
    "RunFolder",
    "score_run",
    # training
    "Interrupted",
    "NonFiniteLossError",
    "StopRequest",
    "load_model",
    "train",
    "learning_rate_factor",
]

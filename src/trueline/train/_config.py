"""The configuration of one run, as typed tables."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from trueline.contracts import Catalogue, unknown_name
from trueline.data import SOURCES
from trueline.models import MODELS
from trueline.supervise import OBJECTIVES

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
AtLeastZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Table(BaseModel):
    """A table of a configuration; a key that it does not know is an error that names the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            known = cls._known(given)
            for key in given:
                if key not in known:
                    where = f"key in [{cls.table}]" if cls.table else "table or key"
                    raise ValueError(unknown_name(where, key, known))
        return given

    @classmethod
    def _known(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return cls.model_fields


class Component(Table):
    """A table that names something and holds that thing's own options, checked against its signature."""

    model_config = ConfigDict(frozen=True, extra="allow")
    catalogue: ClassVar[Catalogue[Any]]
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options that were given; those left out have the defaults of the code."""
        return dict(self.model_extra or {})

    @classmethod
    def _known(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        # A name that is missing or no text is reported for what it is, once the keys have been read.
        name = given.get("name")
        return {**cls.model_fields, **(cls.catalogue.signature(name).parameters if isinstance(name, str) else given)}

    @model_validator(mode="after")
    def _check_options(self) -> "Component":
        parameters = self.catalogue.signature(self.name).parameters
        missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in self.options]
        if missing:
            raise ValueError(f"[{self.table}] name = '{self.name}' also needs {', '.join(missing)}")
        extra = self.model_extra
        assert extra is not None, "extra keys are allowed"
        for key, value in self.options.items():
            if value is None and parameters[key].default is None:
                del extra[key]  # left out of a file it means the same
            else:
                extra[key] = _checked(self.table, key, value, parameters[key])
        return self


class AugmentConfig(Table):
    """``[data.augment]``: random changes of training inputs; see :class:`trueline.data.Transform`."""

    table = "data.augment"
    pad: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    cutout: Annotated[int, Field(ge=0)] = 0
    noise: AtLeastZero = 0.0


class NormaliseConfig(Table):
    """``[data.normalise]``: mean and standard deviation of each channel, in units of the scaled inputs."""

    table = "data.normalise"
    mean: tuple[float, ...]
    std: tuple[Positive, ...]


class NoiseConfig(Table):
    """``[data.noise]``: wrong labels for the training split, and for no other.

    ``symmetric`` and ``asymmetric`` change a share ``rate`` of the labels; ``mapping`` says which class each
    mistaken class is taken for (CIFAR-10 has a usual one). ``file`` reads labels of the whole data set from ``path``.
    """

    table = "data.noise"
    kind: Literal["symmetric", "asymmetric", "file"]
    rate: Annotated[float, Field(ge=0, le=1)] | None = None
    mapping: dict[int, int] | None = None
    path: str | None = None
    key: str | None = None
    seed: Seed | None = None

    @model_validator(mode="after")
    def _check(self) -> "NoiseConfig":
        needed, allowed = ("path", {"path", "key"}) if self.kind == "file" else ("rate", {"rate", "seed"})
        if self.kind == "asymmetric":
            allowed = {*allowed, "mapping"}
        if getattr(self, needed) is None:
            raise ValueError(f"[{self.table}] kind = '{self.kind}' needs {needed}")
        for key in ("rate", "mapping", "path", "key", "seed"):
            if getattr(self, key) is not None and key not in allowed:
                raise ValueError(f"[{self.table}] kind = '{self.kind}' takes no {key}")
        return self


class DataConfig(Component):
    """``[data]``: a data set with its own options, its parts, label noise, augmentation and normalisation."""

    table = "data"
    catalogue = SOURCES
    noise: NoiseConfig | None = None
    validation: Fraction = 0.1
    calibration: Fraction = 0.1
    test: Fraction | None = None
    train_size: Annotated[int, Field(ge=1)] | None = None
    split_seed: Seed | None = None
    augment: AugmentConfig = AugmentConfig()
    normalise: Literal["train"] | NormaliseConfig = "train"


class ModelConfig(Component):
    """``[model]``: a network and its own options; see :data:`trueline.models.MODELS`."""

    table = "model"
    catalogue = MODELS


class ObjectiveConfig(Component):
    """``[objective]``: what the network is trained towards; see :data:`trueline.supervise.OBJECTIVES`."""

    table = "objective"
    catalogue = OBJECTIVES


class ContrastiveConfig(Table):
    """``[contrastive]``: adds a contrastive term over two views; see :class:`trueline.supervise.Contrastive`."""

    table = "contrastive"
    weight: AtLeastZero = 1.0
    temperature: Positive = 0.5
    dim: Annotated[int, Field(ge=1)] = 128


class OptimizerConfig(Table):
    """``[optimizer]``: SGD or AdamW; weight decay acts on every parameter.

    ``momentum`` and ``nesterov`` belong to SGD, ``betas`` to AdamW.
    """

    table = "optimizer"
    name: Literal["sgd", "adamw"]
    learning_rate: Positive
    weight_decay: AtLeastZero = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)

    @model_validator(mode="after")
    def _check(self) -> "OptimizerConfig":
        for key in ("momentum", "nesterov") if self.name == "adamw" else ("betas",):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"[optimizer] name = '{self.name}' takes no {key}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("[optimizer] nesterov needs a momentum above 0")
        return self


class ScheduleConfig(Table):
    """``[schedule]``: how the learning rate moves; see :func:`trueline.train.learning_rate_factor`."""

    table = "schedule"
    name: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: AtLeastZero = 0.0
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    decay: Annotated[float, Field(gt=0, le=1)] = 0.1

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        if (self.name == "step") != bool(self.milestones):
            raise ValueError("[schedule] milestones, the epochs after which the rate falls, go with name = 'step'")
        return self


class TrainingConfig(Table):
    """``[training]``: length, batches, precision, and when to evaluate, stop and save.

    ``batch_size`` counts the samples of an optimiser step over all processes. ``accumulate`` works each
    process's share off in that many pieces: it saves memory and changes nothing else, except where samples of a
    step meet, in batch norm and a contrastive term.
    ``average`` is the decay of a running mean of the weights, which is then what is evaluated and kept.
    ``early_stopping`` is the number of epochs without a better ``monitor`` on the validation split after which
    training ends. ``checkpoint_every`` counts steps; 0 saves at the end of each epoch. ``snapshots`` are the epochs
    whose weights are kept; 0 stands for the initial weights. ``predictions_every`` counts the epochs after which the
    logits of the calibration and test splits are kept, for methods that choose among epochs afterwards, such as
    :class:`trueline.conformal.ConformalEarlyStopping`.

    ``stop_at_accuracy`` ends training after the first evaluated epoch whose accuracy on the validation split is at
    least that, and ``stop_at_loss`` after the first whose mean cross-entropy of the given training labels, in
    evaluation mode and without augmentation, is at most that; of both, whichever comes first. The weights of that epoch
    are the result, so that networks can be compared at equal accuracy or loss. They go with no ``early_stopping``,
    which goes back to another epoch. The learning rate follows ``epochs`` all the same: a run that stops has seen the
    first part of its schedule. The last row of the metrics says what ended the run.
    """

    table = "training"
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    eval_batch_size: Annotated[int, Field(ge=1)] = 1000
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: Annotated[int, Field(ge=1)] = 1
    clip_norm: Positive | None = None
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    stop_at_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    stop_at_loss: Positive | None = None
    monitor: Literal["log_loss", "accuracy"] = "log_loss"
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    snapshots: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    predictions_every: Annotated[int, Field(ge=1)] | None = None
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = True
    workers: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.snapshots is not None and max(self.snapshots) > self.epochs:
            raise ValueError(
                f"[training] snapshots must be epochs from 0 to {self.epochs}, the last one, got {max(self.snapshots)}"
            )
        for key in ("stop_at_accuracy", "stop_at_loss"):
            if self.early_stopping is not None and getattr(self, key) is not None:
                raise ValueError(
                    f"[training] early_stopping goes back to the best epoch, and {key} keeps the first that gets "
                    "there; choose one"
                )
        return self


class StabilityConfig(Table):
    """``[stability]``: watch, while training, whether the step size limits the curvature of the loss.

    Every ``every`` steps the ``quantities`` are measured on ``samples`` of the training split, without augmentation
    and in evaluation mode, and added to ``stability.jsonl``; see :class:`trueline.probe.StabilityMonitor`. The loss is
    the cross-entropy of the given labels, whatever the objective. Training is not changed by it.
    """

    table = "stability"
    every: Annotated[int, Field(ge=1)]
    samples: Annotated[int, Field(ge=1)] = 1000
    quantities: Annotated[tuple[Literal["sharpness", "trace", "batch_sharpness"], ...], Field(min_length=1)] = (
        "sharpness",
        "trace",
        "batch_sharpness",
    )


class RunConfig(Table):
    """Everything that decides the result of a run.

    Example:
        >>> config = RunConfig.model_validate({
        ...     "name": "first", "data": {"name": "digits"}, "model": {"name": "mlp", "hidden": [32]},
        ...     "objective": {"name": "dps"}, "optimizer": {"name": "sgd", "learning_rate": 0.1},
        ...     "training": {"epochs": 2, "batch_size": 64}})
        >>> config.model.options
        {'hidden': (32,)}
    """

    name: Annotated[str, Field(min_length=1)]
    seed: Seed = 0
    data: DataConfig
    model: ModelConfig
    objective: ObjectiveConfig
    contrastive: ContrastiveConfig | None = None
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig
    stability: StabilityConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        for key in ("early_stopping", "stop_at_accuracy"):
            if getattr(self.training, key) is not None and self.data.validation == 0:
                raise ValueError(f"[training] {key} needs a validation split; set [data] validation above 0")
        if self.training.predictions_every is not None and self.data.calibration == 0:
            raise ValueError("[training] predictions_every needs a calibration split; set [data] calibration above 0")
        if self.schedule.warmup_epochs >= self.training.epochs:
            raise ValueError(
                f"[schedule] warmup_epochs must be below the {self.training.epochs} epochs of [training], "
                f"got {self.schedule.warmup_epochs}"
            )
        return self


def plain(config: BaseModel) -> dict[str, Any]:
    """Return a configuration as tables of plain values, without keys that are None.

    Args:
        config: any table.

    Returns:
        What TOML and JSON can hold, and ``model_validate`` reads back.
    """
    tables: dict[str, Any] = _plain(config.model_dump(exclude_none=True))
    return tables


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _checked(table: str, key: str, value: Any, parameter: inspect.Parameter) -> Any:
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    try:
        checked = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        reasons = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
        raise ValueError(f"[{table}] {key}: {reasons}, got {value!r}") from None
    return tuple(checked) if isinstance(checked, list) else checked

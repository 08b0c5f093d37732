"""Everything a run needs, built from its configuration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trueline import models, supervise
from trueline.contracts import TargetBuilder
from trueline.data import Examples
from trueline.train._checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from trueline.train._config import OptimizerConfig, RunConfig, plain
from trueline.train._data import make_loaders, make_normalisation, make_splits
from trueline.train._environment import describe_environment
from trueline.train._schedule import learning_rate_factor


@dataclass
class Position:
    """How far a run is.

    Args:
        epoch: finished epochs.
        step: finished steps of the epoch after them.
        totals: (4,) sums over that epoch so far: loss, hits of given labels, hits of true labels, samples.
        best: best validation score so far, lower is better; None before the first.
        best_epoch: the epoch that had it, from 1.
        reached: ``"stop_at_accuracy"`` or ``"stop_at_loss"`` once the finished epoch got there.
    """

    epoch: int
    step: int
    totals: Tensor
    best: float | None = None
    best_epoch: int = 0
    reached: str | None = None


class Session:
    """The parts of one run, on their device.

    Args:
        config: the run.
        accelerator: device, processes and precision.
    """

    def __init__(self, config: RunConfig, accelerator: Accelerator) -> None:
        training = config.training
        self.config, self.accelerator = config, accelerator
        self.splits = make_splits(config)
        train = self.splits.train
        self.normalisation = make_normalisation(config, train)
        self.loader, self.evaluators = make_loaders(config, self.splits, self.normalisation, accelerator)
        self.true_labels = train.true_labels.to(accelerator.device)

        torch.manual_seed(config.seed)
        self.network = make_network(config, train.input_shape, train.num_classes).to(accelerator.device)
        self.average = None
        if training.average is not None:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(training.average))  # type: ignore[no-untyped-call]
            self.average.n_averaged = self.average.n_averaged.cpu()  # it is asked for each step; no device may wait
        self.objective = _objective(config, train).to(accelerator.device)
        optimizer = make_optimizer(config.optimizer, self.network)
        self.model, self.optimizer = accelerator.prepare(self.network, optimizer)
        self.inner_optimizer = optimizer

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.config.training.epochs * len(self.loader)

    def evaluated(self) -> nn.Module:
        """Return the network to evaluate: the averaged one if there is one, without projection head."""
        network = self.network if self.average is None else self.average.module
        if self.accelerator.num_processes > 1:  # batch norm has seen other samples on each process
            broadcast(list(network.buffers()))
        return network.model if isinstance(network, models.WithProjection) else network

    def steps_done(self, position: Position) -> int:
        """Return the finished optimiser steps of the whole run."""
        return position.epoch * len(self.loader) + position.step

    def begin_step(self, step: int) -> None:
        """Set what depends on the step alone: the learning rate, and the random state of layers such as dropout.

        Args:
            step: finished steps of the whole run.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        key = np.random.SeedSequence([self.config.seed, self.accelerator.process_index, step])
        seed = int(key.generate_state(1, np.uint64)[0])
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would visit every kind of device, each step
        if self.accelerator.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the step that follows ``step`` finished ones."""
        schedule, per_epoch = self.config.schedule, len(self.loader)
        factor = learning_rate_factor(
            step,
            total=self.total_steps,
            warmup=round(schedule.warmup_epochs * per_epoch),
            shape=schedule.name,
            milestones=[epoch * per_epoch for epoch in schedule.milestones],
            decay=schedule.decay,
        )
        return self.config.optimizer.learning_rate * factor

    def checkpoint(self, position: Position, totals: Tensor) -> Checkpoint:
        """Return the present state; ``totals`` are those of all processes together."""
        scaler = self.accelerator.scaler
        return Checkpoint(
            parts={
                "model": self.network.state_dict(),
                "average": {} if self.average is None else self.average.state_dict(),
                "optimizer": optimizer_tensors(self.inner_optimizer),
                "objective": self.objective.state_dict(),
                "totals": {"totals": totals},
            },
            facts={
                "epoch": position.epoch,
                "step": position.step,
                "best": position.best,
                "best_epoch": position.best_epoch,
                "reached": position.reached,
                "scaler": scaler.state_dict() if scaler is not None else {},
                "config": plain(self.config),
                "environment": describe_environment(self.accelerator.device, self.accelerator.num_processes),
            },
        )

    def snapshot(self, position: Position) -> Checkpoint:
        """Return weights and buffers alone, as they are now, and their running mean if there is one."""
        whole = self.checkpoint(position, position.totals)
        return Checkpoint(
            parts={part: whole.parts[part] for part in ("model", "average")},
            facts={key: whole.facts[key] for key in ("epoch", "step", "config", "environment")},
        )

    def restore(self, checkpoint: Checkpoint) -> Position:
        """Take over a saved state and return how far it is."""
        self.network.load_state_dict(checkpoint.part("model"))
        if self.average is not None:
            self.average.load_state_dict(checkpoint.part("average"))
        restore_optimizer(self.inner_optimizer, checkpoint.part("optimizer"))
        self.objective.load_state_dict(checkpoint.part("objective"))
        facts = checkpoint.facts
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        totals = checkpoint.part("totals")["totals"].to(self.accelerator.device)
        if not self.accelerator.is_main_process:
            totals.zero_()  # they are sums over all processes, and are added up again
        best, best_epoch = facts["best"], facts["best_epoch"]
        return Position(facts["epoch"], facts["step"], totals, best, best_epoch, facts.get("reached"))


def make_optimizer(config: OptimizerConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of all parameters of a network."""
    if config.name == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )


def make_network(config: RunConfig, input_shape: Sequence[int], num_classes: int) -> nn.Module:
    """Return the network of a run, with its projection head if a contrastive term needs one."""
    network = models.build(config.model.name, input_shape=input_shape, num_classes=num_classes, **config.model.options)
    return network if config.contrastive is None else models.WithProjection(network, config.contrastive.dim)


def _objective(config: RunConfig, train: Examples) -> TargetBuilder:
    objective = supervise.build(
        config.objective.name,
        labels=train.labels,
        num_classes=train.num_classes,
        epochs=config.training.epochs,
        **config.objective.options,
    )
    if config.contrastive is None:
        return objective
    return supervise.Contrastive(
        objective, weight=config.contrastive.weight, temperature=config.contrastive.temperature
    )

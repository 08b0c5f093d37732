"""The training loop."""

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from trueline.contracts import write_atomically
from trueline.data import Batch
from trueline.measure import mean_scores
from trueline.train._checkpoint import check_same_config, read_checkpoint
from trueline.train._config import RunConfig, TrainingConfig, plain
from trueline.train._config_file import dump_config
from trueline.train._device import run_device
from trueline.train._environment import describe_environment, utc_now
from trueline.train._finish import write_results
from trueline.train._interrupt import Interrupted, StopRequest
from trueline.train._progress import TrainingProgress
from trueline.train._run_folder import RunFolder
from trueline.train._saver import Saver
from trueline.train._session import Position, Session
from trueline.train._stability_watch import StabilityWatch

STEPS_BETWEEN_LOOKS = 20  # how often a GPU, or another process, is waited for


def train(config: RunConfig, folder: str | Path, *, resume: bool = False, progress: bool = True) -> RunFolder:
    """Train a network and fill a run folder with its results.

    After every epoch the network is evaluated and ``checkpoints/last.safetensors`` replaced; the weights after the
    epochs in ``training.snapshots`` are kept in files of their own. A run that was stopped by Ctrl-C, SIGTERM or a kill
    goes on from its last checkpoint, to the same bits on the same device with the same number of threads and processes:
    order, augmentation, dropout and learning rate depend on the seed and the step alone.

    The final predictions come from the last weights, or their running mean if ``training.average`` is set; with
    ``training.early_stopping`` they come from the best epoch instead. With ``training.stop_at_accuracy`` or
    ``training.stop_at_loss`` the last epoch is the first that gets there, if one does. ``ended`` in the last row of the
    metrics says what ended the run: one of these three, or ``epochs``. A temperature is fitted on the true labels of
    the calibration split. Nothing of the process is left changed: random state, flags, signal handlers.

    Under ``torchrun`` every process calls this with the same arguments; the first one writes.

    Args:
        config: what to do.
        folder: where to write; must not hold a run yet, unless ``resume``.
        resume: go on with the run in ``folder`` if there is one; one that is finished is left as it is.
        progress: whether to show progress on standard error.

    Returns:
        The finished run.

    Raises:
        ValueError: if the folder holds a run and ``resume`` is False, or one of another configuration; or the
            configuration does not fit the data or the machine.
        Interrupted: after Ctrl-C or SIGTERM, once a checkpoint is written.
        NonFiniteLossError: if the loss is not finite, naming the step, its samples and the last good checkpoint.

    Cost:
        One forward and backward pass per sample and epoch, and a forward pass over the validation and test splits
        every ``training.evaluate_every`` epochs; with ``training.stop_at_loss`` one over the training split too, and
        one over the calibration and test splits every ``training.predictions_every`` epochs.
    """
    run = RunFolder(Path(folder))
    if (run.path / "config.toml").exists():
        if not resume:
            raise ValueError(f"{run.path} already holds a run; resume it, or give another folder")
        check_same_config(run.config(), plain(config), run.path / "config.toml")
        if run.is_finished():
            return run
    with run_device(config.training) as accelerator, StopRequest() as stop:
        session = Session(config, accelerator)
        position, notes = _start(run, session)
        with TrainingProgress(
            config.name,
            total=session.total_steps,
            done=session.steps_done(position),
            shown=progress and accelerator.is_main_process,
        ) as shown:
            for note in notes:
                shown.say(note)
            _train_epochs(run, session, position, stop, shown)
        write_results(run, session)
        accelerator.wait_for_everyone()
        if stop.signum:
            raise Interrupted(stop.signum, run.path, session.steps_done(position))
    return run


def _start(run: RunFolder, session: Session) -> tuple[Position, list[str]]:
    """Return where to begin, and what to tell about it; the folder then holds nothing from after that."""
    accelerator, notes = session.accelerator, []
    environment = describe_environment(accelerator.device, accelerator.num_processes)
    position = Position(0, 0, torch.zeros(4, dtype=torch.float64, device=accelerator.device))
    if run.last_checkpoint.exists():
        checkpoint = read_checkpoint(run.last_checkpoint)
        check_same_config(checkpoint.facts["config"], plain(session.config), run.last_checkpoint)
        position = session.restore(checkpoint)
        before = checkpoint.facts["environment"]
        notes = [f"{session.config.name}: going on after step {session.steps_done(position)}"]
        if changed := [f"{key} {environment[key]} (was {before.get(key)})" for key in environment
                       if environment[key] != before.get(key)]:  # fmt: skip
            notes.append(f"results may differ in their last bits from an uninterrupted run: {', '.join(changed)}")
    if accelerator.is_main_process:
        known = run.path / "environment.json"
        started = run.environment()["started"] if known.exists() else utc_now()
        train = session.splits.train
        facts = {
            "class_names": list(train.class_names),
            "input_shape": list(train.input_shape),
            "normalisation": {"mean": session.normalisation.mean, "std": session.normalisation.std},
        }
        write_atomically(run.path / "config.toml", dump_config(session.config))
        run.write_json("environment.json", {**environment, **facts, "started": started, "finished": None})
        run.rewind(position.epoch, session.steps_done(position))
    accelerator.wait_for_everyone()
    return position, notes


def _train_epochs(
    run: RunFolder, session: Session, position: Position, stop: StopRequest, progress: TrainingProgress
) -> None:
    training, accelerator = session.config.training, session.accelerator
    saver, stability = Saver(run, session, position), StabilityWatch(run, session)
    if session.steps_done(position) == 0:
        saver.keep_snapshot()
    while _ended(training, position) is None:
        began = time.monotonic()
        session.model.train()
        for batch in session.loader.epoch(position.epoch, start=position.step):
            step = session.steps_done(position)
            session.begin_step(step)
            stability.look(step)
            logits, losses = _step(session, batch)
            saver.watch.note(step + 1, batch.index, losses)
            look = (step + 1) % STEPS_BETWEEN_LOOKS == 0
            if look or accelerator.device.type == "cpu":
                saver.watch.check()
            session.objective.update(batch.index, logits)
            if session.average is not None:
                session.average.update_parameters(session.network)
            position.totals += _totals(session, batch, logits, losses)
            position.step += 1
            progress.advance(batch.global_size)
            if signum := _agreed(stop, accelerator, look):
                saver.save()
                raise Interrupted(signum, run.path, step + 1)
            if training.checkpoint_every and (step + 1) % training.checkpoint_every == 0:
                saver.save()

        totals = saver.check()
        session.objective.end_epoch()
        row = _end_epoch(session, position, totals, saver)
        row["seconds"] = round(time.monotonic() - began, 3)
        if accelerator.is_main_process:
            run.append_metrics(row)
        saver.keep_snapshot()  # before the checkpoint: a run that goes on from there would not write it
        saver.keep_predictions()
        saver.save()
        progress.end_epoch(position.epoch, training.epochs, _headline(row))
        if note := _tell_end(training, row):
            progress.say(f"{session.config.name}: {note}")
        if signum := _agreed(stop, accelerator, True):
            raise Interrupted(signum, run.path, row["step"])


def _step(session: Session, batch: Batch) -> tuple[Tensor, Tensor]:
    """Take one optimiser step and return its detached logits (V·B, C) and losses (B,)."""
    accelerator, objective = session.accelerator, session.objective
    pieces = session.config.training.accumulate
    # Gradients are averaged over processes; this makes that mean the mean over all samples of the step.
    scale = accelerator.num_processes / batch.global_size
    by_view = _views(batch.inputs, objective.views)
    shares = zip(*(tensor.tensor_split(pieces) for tensor in (by_view.transpose(0, 1), batch.labels, batch.index)),
                 strict=True)  # fmt: skip
    logits, losses = [], []
    for number, (inputs, labels, index) in enumerate(shares, start=1):
        with accelerator.no_sync(session.model) if number < pieces else contextlib.nullcontext():
            outputs = session.model(inputs.transpose(0, 1).flatten(0, 1))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            piece = objective.loss(outputs[0], labels, index, *outputs[1:])
            accelerator.backward(piece.sum() * scale)
        logits.append(_views(outputs[0].detach(), objective.views))
        losses.append(piece.detach())
    if session.config.training.clip_norm is not None:
        accelerator.clip_grad_norm_(session.network.parameters(), session.config.training.clip_norm)
    session.optimizer.step()
    session.optimizer.zero_grad()
    # The memory learns once from the whole step, so it cannot depend on the number of pieces.
    return torch.cat(logits, dim=1).flatten(0, 1), torch.cat(losses)


def _views(tensor: Tensor, views: int) -> Tensor:
    return tensor.reshape(views, -1, *tensor.shape[1:])


def _totals(session: Session, batch: Batch, logits: Tensor, losses: Tensor) -> Tensor:
    predicted = _views(logits.argmax(dim=1), session.objective.views)
    truth = session.true_labels[batch.index]
    hits = [(predicted == labels).double().mean(dim=0).sum() for labels in (batch.labels, truth)]
    return torch.stack([losses.double().sum(), *hits, torch.full_like(hits[0], len(batch.index))])


def _end_epoch(session: Session, position: Position, totals: Tensor, saver: Saver) -> dict[str, Any]:
    """Close the epoch: evaluate, keep the best, and return its record."""
    training = session.config.training
    loss, given, true, samples = totals.tolist()
    step = session.steps_done(position)
    position.epoch, position.step = position.epoch + 1, 0
    position.totals.zero_()
    row: dict[str, Any] = {
        "epoch": position.epoch,
        "step": step,
        "learning_rate": session.learning_rate(step - 1),
        "train": {"loss": loss / samples, "accuracy_given": given / samples, "accuracy_true": true / samples},
    }
    if position.epoch % training.evaluate_every == 0 or position.epoch == training.epochs:
        network = session.evaluated()
        for name in ("validation", "test"):
            if evaluator := session.evaluators.get(name):
                row[name] = mean_scores(evaluator.examples.true_labels, logits=evaluator.logits(network))
        if training.stop_at_loss is not None:
            evaluator = session.evaluators["train"]
            scores = mean_scores(evaluator.examples.labels, logits=evaluator.logits(network))
            row["train"]["log_loss"] = scores["log_loss"]
    if "validation" in row:
        value = row["validation"][training.monitor] * (-1 if training.monitor == "accuracy" else 1)
        if position.best is None or value < position.best:
            position.best, position.best_epoch = value, position.epoch
            saver.save(best=True)
    position.reached = _reached(training, row)
    row["objective"] = session.objective.monitors()
    if ended := _ended(training, position):
        row["ended"] = ended
    return row


def _reached(training: TrainingConfig, row: dict[str, Any]) -> str | None:
    """Return the target that an epoch got to."""
    accuracy, loss = training.stop_at_accuracy, training.stop_at_loss
    if accuracy is not None and "validation" in row and row["validation"]["accuracy"] >= accuracy:
        return "stop_at_accuracy"
    if loss is not None and row["train"].get("log_loss", math.inf) <= loss:
        return "stop_at_loss"
    return None


def _ended(training: TrainingConfig, position: Position) -> str | None:
    """Return what ends training after the last finished epoch: an option of ``[training]``, or None to go on."""
    if position.reached is not None:
        return position.reached
    if position.epoch >= training.epochs:
        return "epochs"
    if training.early_stopping is None or position.best is None:
        return None
    last_evaluated = position.epoch - position.epoch % training.evaluate_every
    return "early_stopping" if last_evaluated - position.best_epoch >= training.early_stopping else None


def _tell_end(training: TrainingConfig, row: dict[str, Any]) -> str | None:
    """Return a line on whether training got to its targets; None where it goes on or has none."""
    targets = [
        f"{key} = {target:g}"
        for key in ("stop_at_accuracy", "stop_at_loss")
        if (target := getattr(training, key)) is not None
    ]
    if not targets or "ended" not in row:
        return None
    if row["ended"] == "epochs":
        return f"all {training.epochs} epochs are over without reaching {' or '.join(targets)}"
    return f"stopped after epoch {row['epoch']}: reached {row['ended']} = {getattr(training, row['ended']):g}"


def _agreed(stop: StopRequest, accelerator: Accelerator, look: bool) -> int:
    """Return the signal to stop for, the same on all processes, or 0."""
    if accelerator.num_processes == 1:
        return stop.signum
    if not look:
        return 0
    return int(accelerator.gather(torch.tensor([stop.signum], device=accelerator.device)).max())


def _headline(row: dict[str, Any]) -> str:
    scores = f"loss {row['train']['loss']:.3f}"
    for name in ("validation", "test"):
        if name in row:
            return f"{scores}, {name} accuracy {row[name]['accuracy']:.1%}"
    return scores

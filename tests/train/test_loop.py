import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trueline.calibrate import TemperatureScaling
from trueline.data import normalisation
from trueline.models import MLP
from trueline.train import Interrupted, NonFiniteLossError, RunConfig, RunFolder, _loop, load_model, train
from trueline.train import _session as session_module
from trueline.train._checkpoint import read_checkpoint
from trueline.train._data import make_splits

from .conftest import STEPS_PER_EPOCH, assert_same_result, change, leftovers


def _weights(run: RunFolder, part: str = "model") -> dict[str, torch.Tensor]:
    return read_checkpoint(run.last_checkpoint).part(part)


def _at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Any) -> None:
    """Do something at the beginning of the step that follows ``step`` finished ones."""
    begin = session_module.Session.begin_step

    def begin_step(session: session_module.Session, done: int) -> None:
        if done == step:
            act(session)
        begin(session, done)

    monkeypatch.setattr(session_module.Session, "begin_step", begin_step)


# What a run leaves behind


def test_a_run_writes_every_file_it_promises(config: RunConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", progress=False)
    assert run.is_finished()
    assert {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()} == {
        "config.toml",
        "metrics.jsonl",
        "environment.json",
        "predictions.safetensors",
        "beliefs.safetensors",
        "mistakes.safetensors",
        "calibration.json",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
    }
    parts = make_splits(config)
    for name in ("train", "validation", "calibration", "test"):
        found, part = run.predictions(name), getattr(parts, name)
        assert found is not None
        for ours, theirs in (("labels", "labels"), ("true_labels", "true_labels"), ("index", "source_index")):
            assert torch.equal(getattr(found, ours), getattr(part, theirs))
    rows = run.metrics()
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 5), (2, 10), (3, 15)]
    assert set(rows[0]) == {"epoch", "step", "learning_rate", "seconds", "train", "validation", "test", "objective"}
    assert set(rows[0]["objective"]) == {"left_label_share", "label_weight", "belief_spread"}
    environment = run.environment()
    assert environment["class_names"] == [str(digit) for digit in range(10)]
    assert environment["started"] <= environment["finished"]


def test_predictions_are_those_of_the_saved_weights(config: RunConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", progress=False)
    network = MLP((1, 8, 8), 10, hidden=(16,))
    network.load_state_dict(_weights(run))
    parts = make_splits(config)
    (mean,), (std,) = normalisation(parts.train)
    assert isinstance(parts.test.inputs, torch.Tensor)
    predictions = run.predictions("test")
    assert predictions is not None
    torch.testing.assert_close(predictions.logits, network((parts.test.inputs / 16 - mean) / std).detach())


def test_epochs_are_scored_against_true_labels(tables: dict[str, Any], tmp_path: Path) -> None:
    inputs = torch.eye(4).repeat(40, 1)
    true = torch.arange(4).repeat(40)
    np.savez(tmp_path / "set.npz", inputs=inputs, labels=(true + 1) % 4, true_labels=true)
    data = {"name": "arrays", "path": str(tmp_path / "set.npz"), "calibration": 0.0}
    config = RunConfig.model_validate({**tables, "data": data, "objective": {"name": "cross_entropy"}})
    run = train(change(config, "training.epochs=30"), tmp_path / "run", progress=False)
    last = run.metrics()[-1]
    assert last["train"]["accuracy_given"] == 1.0  # it learned what it was given, which is wrong throughout
    assert last["train"]["accuracy_true"] == 0.0
    assert last["test"]["accuracy"] == last["validation"]["accuracy"] == 0.0


def test_the_temperature_is_fitted_on_the_calibration_split(config: RunConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", progress=False)
    held_out, record = run.predictions("calibration"), run.calibration()
    assert held_out is not None
    assert record is not None
    temperature = TemperatureScaling().fit(held_out.true_labels, logits=held_out.logits).temperature_
    assert record == {
        "method": "TemperatureScaling",
        "temperature": temperature,
        "fitted_on": "calibration",
        "samples": len(held_out.labels),
    }


def test_beliefs_come_with_pictures_of_those_that_left_their_label(config: RunConfig, tmp_path: Path) -> None:
    run = train(change(config, "training.epochs=10", "objective.label_half_life=1"), tmp_path / "run", progress=False)
    beliefs, parts = run.beliefs(), make_splits(config)
    assert beliefs is not None
    believed = beliefs.beliefs.argmax(dim=1)
    assert len(beliefs.positions) > 0
    assert (believed[beliefs.positions] != parts.train.labels[beliefs.positions]).all()
    weight = beliefs.beliefs.amax(dim=1)[beliefs.positions]
    assert (weight.diff() <= 0).all()
    assert isinstance(parts.train.inputs, torch.Tensor)
    expected = (parts.train.inputs[beliefs.positions].float() * (255 / 16)).round()
    assert torch.equal(beliefs.images.float(), expected)


def test_the_surest_mistakes_come_with_their_pictures(config: RunConfig, tmp_path: Path) -> None:
    run, parts = train(config, tmp_path / "run", progress=False), make_splits(config)
    mistakes, test = run.mistakes(), run.predictions("test")
    assert mistakes is not None
    assert test is not None
    confidence, prediction = test.logits.softmax(1).max(1)
    wrong = (prediction != test.true_labels).nonzero().squeeze(1)
    assert set(mistakes.positions.tolist()) <= set(wrong.tolist())
    assert len(mistakes.positions) == min(200, len(wrong))
    assert (confidence[mistakes.positions].diff() <= 1e-6).all()
    assert isinstance(parts.test.inputs, torch.Tensor)
    expected = (parts.test.inputs[mistakes.positions].float() * (255 / 16)).round()
    assert torch.equal(mistakes.images.float(), expected)


def test_without_memory_validation_and_calibration_their_files_are_left_out(config: RunConfig, tmp_path: Path) -> None:
    plain = change(config, "objective.name=cross_entropy", "data.validation=0", "data.calibration=0")
    run = train(plain, tmp_path / "run", progress=False)
    assert run.beliefs() is None
    assert run.calibration() is None
    assert run.predictions("validation") is None
    assert "validation" not in run.metrics()[0]
    assert run.best_checkpoint.read_bytes() == run.last_checkpoint.read_bytes()


def test_evaluation_may_be_rare_but_never_skips_the_end(config: RunConfig, tmp_path: Path) -> None:
    run = train(change(config, "training.evaluate_every=2"), tmp_path / "run", progress=False)
    assert ["test" in row for row in run.metrics()] == [False, True, True]


def test_training_accuracies_are_against_given_and_true_labels(config: RunConfig, tmp_path: Path) -> None:
    """At a learning rate of nearly nothing each epoch's means are those of one fixed network."""
    still = change(config, "optimizer.learning_rate=1e-12", "data.augment.noise=0", "training.epochs=1")
    run = train(still, tmp_path / "run", progress=False)
    found = run.predictions("train")
    assert found is not None
    predicted = found.logits.argmax(dim=1)
    row = run.metrics()[0]["train"]
    assert row["accuracy_given"] == pytest.approx((predicted == found.labels).double().mean().item(), abs=1e-12)
    assert row["accuracy_true"] == pytest.approx((predicted == found.true_labels).double().mean().item(), abs=1e-12)


def test_the_same_configuration_gives_the_same_bits_and_another_seed_does_not(
    config: RunConfig, tmp_path: Path
) -> None:
    first, second = (train(config, tmp_path / name, progress=False) for name in "ab")
    assert_same_result(first, second)
    other = train(change(config, "seed=1"), tmp_path / "c", progress=False)
    assert not torch.equal(_weights(first)["classifier.weight"], _weights(other)["classifier.weight"])


def test_a_reference_loop_in_plain_pytorch_gives_the_same_weights(config: RunConfig, tmp_path: Path) -> None:
    from trueline.data import Transform, make_loader
    from trueline.supervise import DPS

    run = train(config, tmp_path / "run", progress=False)
    parts = make_splits(config)
    loader = make_loader(
        parts.train, batch_size=40, transform=Transform(*normalisation(parts.train), noise=0.1), device="cpu"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLP((1, 8, 8), 10, hidden=(16,))
    objective = DPS(parts.train.labels, 10, label_half_life=2.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3 * len(loader))
    for epoch in range(3):
        for inputs, labels, index, _ in loader.epoch(epoch):
            logits = network(inputs)
            optimizer.zero_grad()
            objective.loss(logits, labels, index).mean().backward()
            optimizer.step()
            schedule.step()
            objective.update(index, logits)
        objective.end_epoch()
    for name, value in _weights(run).items():
        torch.testing.assert_close(value, network.state_dict()[name])
    beliefs = run.beliefs()
    assert beliefs is not None
    torch.testing.assert_close(beliefs.beliefs, objective.beliefs())


# Options


@pytest.mark.parametrize("pieces", [2, 3, 7])
def test_working_a_step_off_in_pieces_changes_nothing_but_rounding(
    config: RunConfig, tmp_path: Path, pieces: int
) -> None:
    whole = train(config, tmp_path / "whole", progress=False)
    cut = train(change(config, f"training.accumulate={pieces}"), tmp_path / "cut", progress=False)
    for name, value in _weights(whole).items():
        torch.testing.assert_close(value, _weights(cut)[name], rtol=1e-4, atol=1e-6)
    first, second = whole.beliefs(), cut.beliefs()
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first.beliefs, second.beliefs, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_step(config: RunConfig, tmp_path: Path) -> None:
    """Plain SGD moves by at most rate times the clipped norm."""
    overrides = ("optimizer.momentum=0", "schedule.name=constant", "training.epochs=1", "training.batch_size=200")
    bounded = change(config, *overrides, "training.clip_norm=1e-3")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        begin = MLP((1, 8, 8), 10, hidden=(16,)).state_dict()
    for run_config, expected in ((bounded, 1e-4), (change(bounded, "training.clip_norm=none"), None)):
        run = train(run_config, tmp_path / str(expected), progress=False)
        moved = torch.cat([(value - begin[name]).flatten() for name, value in _weights(run).items()]).norm().item()
        assert moved == pytest.approx(1e-4, rel=1e-3) if expected else moved > 1e-3


def test_averaged_weights_follow_their_recursion(config: RunConfig, tmp_path: Path) -> None:
    single = change(config, "training.batch_size=200", "training.average=0.75", "training.checkpoint_every=1")
    mean: dict[str, torch.Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        update = session_module.AveragedModel.update_parameters

        def record(average: Any, network: Any) -> None:
            update(average, network)
            for name, value in network.state_dict().items():
                mean[name] = 0.75 * mean[name] + 0.25 * value if name in mean else value.clone()

        patch.setattr(session_module.AveragedModel, "update_parameters", record)
        run = train(single, tmp_path / "run", progress=False)
    average = _weights(run, "average")
    for name, value in mean.items():
        torch.testing.assert_close(average[f"module.{name}"], value)
    network = MLP((1, 8, 8), 10, hidden=(16,))
    network.load_state_dict(mean)
    predictions, parts = run.predictions("test"), make_splits(config)
    (shift,), (scale,) = normalisation(parts.train)
    assert predictions is not None
    assert isinstance(parts.test.inputs, torch.Tensor)
    torch.testing.assert_close(predictions.logits, network((parts.test.inputs / 16 - shift) / scale).detach())


def test_bfloat16_runs_and_keeps_full_precision_weights(config: RunConfig, tmp_path: Path) -> None:
    run = train(change(config, "training.precision=bf16"), tmp_path / "half", progress=False)
    full = train(config, tmp_path / "full", progress=False)
    assert _weights(run)["classifier.weight"].dtype == torch.float32
    assert not torch.equal(_weights(run)["classifier.weight"], _weights(full)["classifier.weight"])
    first, second = run.predictions("test"), full.predictions("test")
    assert first is not None
    assert second is not None
    assert first.logits.dtype == torch.float32
    torch.testing.assert_close(first.logits, second.logits, atol=0.3, rtol=0.1)


def test_a_contrastive_term_trains_with_two_views(config: RunConfig, tmp_path: Path) -> None:
    run = train(change(config, "contrastive.dim=8", "training.accumulate=2"), tmp_path / "run", progress=False)
    assert run.beliefs() is not None
    assert "head.2.weight" in _weights(run)
    predictions = run.predictions("test")
    assert predictions is not None
    assert predictions.logits.shape[1] == 10
    assert run.metrics()[0]["train"]["loss"] > run.metrics()[-1]["train"]["loss"]


def test_dropout_depends_on_seed_and_step_alone(config: RunConfig, tmp_path: Path) -> None:
    vit = change(config, "model.name=vit", "model.patch=4", "model.dim=8", "model.depth=1", "model.heads=2",
                 "model.dropout=0.3", "training.epochs=1", "training.checkpoint_every=2")  # fmt: skip
    whole = train(vit, tmp_path / "whole", progress=False)
    with pytest.MonkeyPatch.context() as patch:
        _at_step(patch, 2, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(vit, tmp_path / "parts", progress=False)
    assert_same_result(whole, train(vit, tmp_path / "parts", resume=True, progress=False))


def test_early_stopping_ends_and_goes_back_to_the_best_epoch(config: RunConfig, tmp_path: Path) -> None:
    """A rate far too high after warm-up makes the validation loss worse and worse."""
    hopeless = change(config, "training.epochs=30", "training.early_stopping=2", "optimizer.learning_rate=3.0",
                      "optimizer.momentum=0", "schedule.name=constant", "schedule.warmup_epochs=20")  # fmt: skip
    run = train(hopeless, tmp_path / "run", progress=False)
    losses = [row["validation"]["log_loss"] for row in run.metrics()]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 30
    assert run.metrics()[-1]["ended"] == "early_stopping"
    assert read_checkpoint(run.best_checkpoint).facts["epoch"] == best + 1
    found = run.predictions("validation")
    assert found is not None
    loss = torch.nn.functional.cross_entropy(found.logits.double(), found.true_labels).item()
    assert loss == pytest.approx(losses[best], rel=1e-9)


def test_the_best_checkpoint_follows_the_monitor(config: RunConfig, tmp_path: Path) -> None:
    run = train(change(config, "training.monitor=accuracy", "training.epochs=6"), tmp_path / "run", progress=False)
    accuracies = [row["validation"]["accuracy"] for row in run.metrics()]
    assert read_checkpoint(run.best_checkpoint).facts["epoch"] == accuracies.index(max(accuracies)) + 1


def _slow(config: RunConfig, *overrides: str) -> RunConfig:
    """A run whose accuracy rises over several epochs."""
    return change(config, "training.epochs=12", "optimizer.learning_rate=0.03", "schedule.name=constant", *overrides)


def test_training_ends_with_the_first_epoch_that_is_accurate_enough(config: RunConfig, tmp_path: Path) -> None:
    whole = train(_slow(config), tmp_path / "whole", progress=False).metrics()
    accuracies = [row["validation"]["accuracy"] for row in whole]
    target = 0.6
    first = next(epoch for epoch, accuracy in enumerate(accuracies, start=1) if accuracy >= target)
    assert 1 < first < 12
    run = train(_slow(config, f"training.stop_at_accuracy={target}"), tmp_path / "run", progress=False)
    rows = run.metrics()
    assert rows[-1].pop("ended") == "stop_at_accuracy"
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in whole[:first]]
    # The weights of that epoch are the result, whichever was best.
    found = run.predictions("validation")
    assert found is not None
    accuracy = (found.logits.argmax(dim=1) == found.true_labels).double().mean().item()
    assert accuracy == pytest.approx(accuracies[first - 1])
    assert read_checkpoint(run.last_checkpoint).facts["epoch"] == first
    assert torch.equal(load_model(run).classifier.weight, _weights(run)["classifier.weight"])


@pytest.mark.parametrize("average", [(), ("training.average=0.5",)])
def test_training_ends_with_the_first_epoch_of_a_small_enough_loss(
    config: RunConfig, tmp_path: Path, average: tuple[str, ...]
) -> None:
    """The loss is the cross-entropy of the given labels, without augmentation, of the weights that are evaluated."""
    run = train(_slow(config, "training.stop_at_loss=1.9", *average), tmp_path / "run", progress=False)
    rows = run.metrics()
    losses = [row["train"]["log_loss"] for row in rows]
    assert len(rows) < 12
    assert rows[-1]["ended"] == "stop_at_loss"
    assert losses[-1] <= 1.9 < min(losses[:-1])
    found = run.predictions("train")
    assert found is not None
    loss = torch.nn.functional.cross_entropy(found.logits.double(), found.labels).item()
    assert losses[-1] == pytest.approx(loss, rel=1e-9)
    assert not torch.equal(found.labels, found.true_labels)


def test_of_two_targets_the_first_that_is_met_ends_the_run(config: RunConfig, tmp_path: Path) -> None:
    both = _slow(config, "training.stop_at_loss=1.9", "training.stop_at_accuracy=1.0")
    assert train(both, tmp_path / "loss", progress=False).metrics()[-1]["ended"] == "stop_at_loss"
    both = _slow(config, "training.stop_at_loss=0.001", "training.stop_at_accuracy=0.3")
    assert train(both, tmp_path / "accuracy", progress=False).metrics()[-1]["ended"] == "stop_at_accuracy"


def test_a_target_is_looked_at_only_where_the_network_is_evaluated(config: RunConfig, tmp_path: Path) -> None:
    easy = _slow(config, "training.stop_at_accuracy=0.01", "training.stop_at_loss=9", "training.evaluate_every=3")
    rows = train(easy, tmp_path / "run", progress=False).metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert ["log_loss" in row["train"] for row in rows] == [False, False, True]
    assert rows[-1]["ended"] == "stop_at_accuracy"


def test_a_target_out_of_reach_is_said_to_be(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hopeless = change(config, "training.stop_at_loss=0.001", "training.stop_at_accuracy=1.0")
    rows = train(hopeless, tmp_path / "run").metrics()
    assert len(rows) == 3
    assert rows[-1]["ended"] == "epochs"
    words = "all 3 epochs are over without reaching stop_at_accuracy = 1 or stop_at_loss = 0.001"
    assert words in capsys.readouterr().err
    train(change(config, "training.stop_at_loss=9"), tmp_path / "easy")
    assert "stopped after epoch 1: reached stop_at_loss = 9" in capsys.readouterr().err


def test_the_last_row_says_what_ended_a_run_without_targets(config: RunConfig, tmp_path: Path) -> None:
    rows = train(config, tmp_path / "run", progress=False).metrics()
    assert [row.get("ended") for row in rows] == [None, None, "epochs"]


@pytest.mark.parametrize("step", [2, 3 * STEPS_PER_EPOCH - 1])
def test_a_stopped_run_with_a_target_goes_on_to_the_same_bits(config: RunConfig, tmp_path: Path, step: int) -> None:
    """The second kill comes in the last step before the target, which the run must still notice."""
    config = _slow(config, "training.stop_at_accuracy=0.01", "training.evaluate_every=3")
    whole = train(config, tmp_path / "whole", progress=False)
    with pytest.MonkeyPatch.context() as patch:
        _at_step(patch, step, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(config, tmp_path / "parts", progress=False)
    assert_same_result(whole, train(config, tmp_path / "parts", resume=True, progress=False))


def test_a_run_that_was_killed_after_its_last_epoch_does_not_train_on(config: RunConfig, tmp_path: Path) -> None:
    config = _slow(config, "training.stop_at_loss=9")
    whole = train(config, tmp_path / "whole", progress=False)

    def killed(*_: Any) -> None:
        raise MemoryError("no more")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop, "write_results", killed)
        with pytest.raises(MemoryError):
            train(config, tmp_path / "parts", progress=False)
    assert_same_result(whole, train(config, tmp_path / "parts", resume=True, progress=False))


# Stopping and going on


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 2, STEPS_PER_EPOCH - 1, 2 * STEPS_PER_EPOCH + 1])
def test_a_stopped_run_goes_on_to_the_same_bits(
    config: RunConfig, tmp_path: Path, step: int, signum: signal.Signals
) -> None:
    config = change(config, "training.average=0.9", "optimizer.name=adamw", "optimizer.learning_rate=0.01")
    whole = train(config, tmp_path / "whole", progress=False)
    before = signal.getsignal(signum)
    with pytest.MonkeyPatch.context() as patch:
        _at_step(patch, step, lambda _: os.kill(os.getpid(), signum))
        with pytest.raises(Interrupted, match=f"stopped by {signum.name} after step {step + 1}") as stopped:
            train(config, tmp_path / "parts", progress=False)
    assert stopped.value.exit_code == 128 + signum
    assert signal.getsignal(signum) == before
    assert not RunFolder(tmp_path / "parts").is_finished()
    assert_same_result(whole, train(config, tmp_path / "parts", resume=True, progress=False))


def test_an_error_between_checkpoints_costs_only_the_steps_since(config: RunConfig, tmp_path: Path) -> None:
    config = change(config, "training.checkpoint_every=3")
    whole = train(config, tmp_path / "whole", progress=False)

    def fail(_: Any) -> None:
        raise MemoryError("no more")

    with pytest.MonkeyPatch.context() as patch:
        _at_step(patch, 8, fail)
        with pytest.raises(MemoryError):
            train(config, tmp_path / "parts", progress=False)
    facts = read_checkpoint(tmp_path / "parts" / "checkpoints" / "last.safetensors").facts
    assert facts["epoch"] * STEPS_PER_EPOCH + facts["step"] == 6
    assert_same_result(whole, train(config, tmp_path / "parts", resume=True, progress=False))


def test_resuming_without_a_run_begins_one(config: RunConfig, tmp_path: Path) -> None:
    assert train(config, tmp_path / "run", resume=True, progress=False).is_finished()


def test_resuming_a_finished_run_leaves_it_alone(config: RunConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", progress=False)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert train(config, run.path, resume=True, progress=False) == run
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_run_is_never_overwritten_or_resumed_with_another_configuration(config: RunConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="already holds a run; resume it, or give another folder"):
        train(config, run.path, progress=False)
    with pytest.raises(ValueError, match=r"optimizer.learning_rate = 0.2 \(was 0.1\)"):
        train(change(config, "optimizer.learning_rate=0.2"), run.path, resume=True, progress=False)


def test_a_change_of_surroundings_is_told(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _at_step(patch, 2, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(config, tmp_path / "run", progress=False)
    # Patching PyTorch's own count would leave the process with that many threads: a run restores what it found.
    described = _loop.describe_environment
    monkeypatch.setattr(_loop, "describe_environment", lambda *surroundings: described(*surroundings) | {"threads": 99})
    train(config, tmp_path / "run", resume=True)
    written = capsys.readouterr().err
    assert "small: going on after step 3" in written
    assert "may differ in their last bits" in written
    assert "threads 99 (was" in written


# Bad numbers


def test_a_diverging_run_names_step_samples_and_checkpoint(config: RunConfig, tmp_path: Path) -> None:
    wild = change(config, "optimizer.learning_rate=1e30", "training.checkpoint_every=1", "schedule.name=constant")
    with pytest.raises(
        NonFiniteLossError, match=r"the loss is (nan|inf) at step 2; its batch holds .* samples"
    ) as error:
        train(wild, tmp_path / "run", progress=False)
    assert len(error.value.index) == 40
    assert error.value.checkpoint == tmp_path / "run" / "checkpoints" / "last.safetensors"
    assert read_checkpoint(error.value.checkpoint).facts["step"] == 1
    assert leftovers(tmp_path) == []


def test_weights_that_break_under_a_finite_loss_are_never_saved(config: RunConfig, tmp_path: Path) -> None:
    config = change(config, "training.checkpoint_every=1")

    def spoil(session: session_module.Session) -> None:
        session.network.classifier.bias.register_hook(lambda gradient: gradient * torch.nan)

    with pytest.MonkeyPatch.context() as patch:
        _at_step(patch, 3, spoil)
        with pytest.raises(NonFiniteLossError, match=r"no longer finite at step 4; .*last.safetensors \(step 3\)"):
            train(config, tmp_path / "run", progress=False)
    weights = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors").part("model").values()
    assert all(weight.isfinite().all() for weight in weights)


# What a run leaves untouched


def test_random_state_flags_and_handlers_are_put_back(config: RunConfig, tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
        return torch.get_rng_state().tolist(), torch.are_deterministic_algorithms_enabled(), handlers

    before = state()
    train(config, tmp_path / "run", progress=False)
    assert state() == before
    wild = change(config, "optimizer.learning_rate=1e30")
    with pytest.raises(NonFiniteLossError):
        train(wild, tmp_path / "wild", progress=False)
    assert state() == before


def test_progress_is_told_off_a_terminal_in_plain_lines(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config, tmp_path / "run")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("small: epoch 3/3, loss ")
    assert "samples/s" in captured.err

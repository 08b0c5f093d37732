"""A steered run: what is chosen where, what is judged by what, and what lies in the folder."""

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.data import Examples
from trueline.measure import evaluate
from trueline.numerics import Interval
from trueline.predictions import read_predictions
from trueline.steer import steer
from trueline.steering import (
    SteeringOptions,
    load_steered,
    steer_run,
    steering_verdict,
)
from trueline.steering._geometry import paired_share, plan_attack, withstanding
from trueline.steering._verdict import measure_name
from trueline.subjects import subject_of_model, subject_of_run
from trueline.train import RunConfig, RunFolder, train

FEW = {"betas": (0.5, 0.9), "samples": 0}
CONFIG = {
    "name": "small",
    "data": {"name": "digits", "train_size": 300, "noise": {"kind": "symmetric", "rate": 0.2}},
    "model": {"name": "mlp", "hidden": [32]},
    "objective": {"name": "cross_entropy"},
    "optimizer": {"name": "adamw", "learning_rate": 0.01},
    "training": {"epochs": 4, "batch_size": 50, "device": "cpu"},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    return train(RunConfig.model_validate(CONFIG), folder, progress=False).path


class TwoFeatures(nn.Module):
    """A model of the user's own, with its activation in a function."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(2, 16), nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return 3 * self.second(F.relu(self.first(x)))


def points(size: int = 120, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = 2 * torch.randn(size, 2, generator=generator)
    with torch.random.fork_rng():
        logits = TwoFeatures()(inputs).detach()
    labels = (logits + torch.randn(size, 3, generator=generator)).argmax(1)
    labels[:3] = torch.arange(3)
    return Examples(inputs, labels, labels, ("a", "b", "c"), torch.arange(size))


@pytest.fixture
def model() -> TwoFeatures:
    with torch.random.fork_rng():
        return TwoFeatures().eval()


def test_beta_one_changes_nothing_and_repeats_what_the_run_stored(run: Path, tmp_path: Path) -> None:
    steered = steer_run(subject_of_run(run), tmp_path / "out", SteeringOptions(beta=1.0, **FEW))
    found = steered.findings
    assert found.unchanged
    assert found.notes == ("Robust accuracy and curvature are left out: samples = 0.",)
    assert all(
        difference.value == 0 and not difference.excludes_zero for difference in found.judgement.difference.values()
    )
    for split in ("train", "validation", "calibration", "test"):
        mine, theirs = RunFolder(tmp_path / "out").predictions(split), RunFolder(run).predictions(split)
        torch.testing.assert_close(mine.logits, theirs.logits, rtol=1e-4, atol=1e-4)
        for name in ("labels", "true_labels", "index"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))


def test_the_search_takes_the_best_of_the_curve_and_never_looks_at_the_test_split(run: Path, tmp_path: Path) -> None:
    subject = subject_of_run(run)
    assert subject.chooser == "validation"
    options = SteeringOptions(metric="log_loss", betas=(0.3, 0.6, 0.9), samples=0)
    steered = steer_run(subject, tmp_path / "out", options)
    found = steered.findings
    losses = {point.beta: point.scores["log_loss"].value for point in found.curve}
    assert list(losses) == [0.3, 0.6, 0.9, 1.0]
    assert found.beta == min(losses, key=losses.__getitem__)
    test = subject.parts["test"]
    shuffled = test.true_labels.flip(0)
    others = replace(subject, parts={**subject.parts, "test": replace(test, labels=shuffled, true_labels=shuffled)})
    again = steer_run(others, tmp_path / "again", options).findings
    assert again.beta == found.beta
    assert [point.scores for point in again.curve] == [point.scores for point in found.curve]
    assert again.judgement.original != found.judgement.original


def test_every_number_is_that_of_an_independent_twin(model: TwoFeatures, tmp_path: Path) -> None:
    subject = subject_of_model(model, points(), name="mine", seed=3)
    options = SteeringOptions(beta=0.8, mix="mean_preserving", scale="rms", betas=(0.7, 0.95), samples=0)
    steered = steer_run(subject, tmp_path / "out", options)
    validation, test = subject.parts["validation"], subject.parts["test"]
    for point in steered.findings.curve:
        twin = steer(model, point.beta, mix="mean_preserving", scale="rms", example=validation.inputs)
        expected = evaluate(validation.true_labels, logits=twin(validation.inputs).detach())
        assert point.scores == pytest.approx(expected.scores)
    twin = steer(model, 0.8, mix="mean_preserving", scale="rms", example=validation.inputs)
    logits, unsteered = twin(test.inputs).detach(), model(test.inputs).detach()
    torch.testing.assert_close(RunFolder(tmp_path / "out").predictions("test").logits, logits)
    torch.testing.assert_close(steered.model(test.inputs), logits)
    judged = steered.findings.judgement
    before, after = (evaluate(test.true_labels, logits=values) for values in (unsteered, logits))
    assert (judged.original, judged.steered) == (before.scores, after.scores)
    assert judged.difference == after.minus(before)


def test_the_halves_share_no_sample_hold_all_and_follow_the_seed(model: TwoFeatures) -> None:
    examples = points()
    first, same, other = (subject_of_model(model, examples, name="m", seed=seed) for seed in (0, 0, 1))
    index = [part.source_index for part in first.parts.values()]
    assert sorted(torch.cat(index).tolist()) == list(range(len(examples)))
    assert len(index[0]) == len(index[1]) == 60
    assert torch.equal(index[0], same.parts["validation"].source_index)
    assert not torch.equal(index[0], other.parts["validation"].source_index)
    assert "halves of 60 and 60 with seed 0" in first.notes[0]


def test_an_attack_in_units_of_the_inputs_is_exact_on_a_linear_model() -> None:
    # |w·x| > r·|w|_1 is all that an attack within r of every entry leaves.
    examples, weight, radius = points(200), torch.tensor([[1.5, -0.5]]), 0.4
    linear = nn.Linear(2, 2, bias=False).requires_grad_(False)
    linear.weight.copy_(torch.cat([weight, -weight]))
    margins = (examples.inputs @ weight.T).squeeze(1)
    labels = (margins < 0).long()
    attack, words = plan_attack({"test": examples}, SteeringOptions(radius=radius))
    assert attack is not None
    assert not words
    exact = margins.abs() > radius * weight.abs().sum()
    sure = (margins.abs() - radius * weight.abs().sum()).abs() > 1e-4  # the box moves numbers in the last place
    found = withstanding(linear.eval(), examples.inputs, labels, attack, seed=0)
    assert 0 < exact.sum() < len(exact)
    assert torch.equal(found[sure] == 1, exact[sure])


def test_paired_shares_have_the_interval_of_a_table_with_half_a_sample_more_in_each_cell() -> None:
    hits = torch.arange(60) % 3 > 0
    better = torch.where(torch.arange(60) % 7 == 0, True, hits)
    logits = [torch.stack([torch.zeros(60), 2.0 * right - 1], 1) for right in (hits.double(), better.double())]
    one, other = (evaluate(torch.ones(60, dtype=torch.int64), logits=rows) for rows in logits)
    expected = other.minus(one)["accuracy"]
    found = paired_share(better.double() - hits.double())
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    same = paired_share(torch.zeros(20))
    assert same.low == -same.high < same.value == 0


@pytest.mark.parametrize(("low", "high", "attacked"), [(0.0, 1.0, True), (-0.1, 1.0, False), (0.0, 1.1, False)])
def test_images_in_the_unit_interval_are_attacked_and_others_are_left_out(
    low: float, high: float, attacked: bool
) -> None:
    images = torch.full((4, 1, 2, 2), low)
    images[0, 0, 0, 0] = high
    labels = torch.arange(4) % 2
    examples = Examples(images, labels, labels, ("a", "b"), torch.arange(4))
    attack, words = plan_attack({"test": examples}, SteeringOptions())
    assert (attack is not None) is attacked
    assert attack is None or (attack.radius, attack.low, attack.width) == (8 / 255, 0, 1)
    assert ("give one in their units with --radius" in words) is not attacked


def test_robustness_and_curvature_are_measured_where_they_can_be(run: Path, tmp_path: Path) -> None:
    options = SteeringOptions(metric="robust_accuracy", betas=(0.5, 0.9), samples=20, radius=0.1)
    found = steer_run(subject_of_run(run), tmp_path / "out", options).findings
    assert all({"robust_accuracy", "normalised_curvature"} <= set(point.scores) for point in found.curve)
    robust = {point.beta: point.scores["robust_accuracy"].value for point in found.curve}
    assert robust[found.beta] == max(robust.values())
    assert all(value <= 1 and (20 * value) == pytest.approx(round(20 * value)) for value in robust.values())
    assert {"robust_accuracy", "normalised_curvature"} <= set(found.judgement.difference)
    assert found.judgement.few == 20
    curvature = found.judgement.original["normalised_curvature"]
    assert curvature.low < curvature.value < curvature.high


def test_the_folder_is_read_by_an_audit_and_gives_the_model_back(run: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out = tmp_path / "steered"
    steered = steer_run(subject_of_run(run), out, SteeringOptions(beta=0.5, scale="rms", **FEW))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert {path.name for path in out.iterdir()} == {
        "predictions.safetensors", "environment.json", "steering.json", "steering.html"
    }  # fmt: skip
    audited = read_predictions(out)
    assert audited.held_out is not None
    assert audited.class_names == tuple(str(digit) for digit in range(10))
    assert RunFolder(out).is_finished()
    test = RunFolder(out).predictions("test")
    images = subject_of_run(run).parts["test"].inputs.float() / 16
    torch.testing.assert_close(load_steered(out)(images).detach(), test.logits)
    torch.testing.assert_close(steered.model(images).detach(), test.logits)


def test_the_record_is_strict_json_and_says_everything(run: Path, tmp_path: Path) -> None:
    steered = steer_run(subject_of_run(run), tmp_path / "out", SteeringOptions(metric="ece", **FEW))
    record = json.loads((tmp_path / "out" / "steering.json").read_text())
    assert record == json.loads(json.dumps(steered.to_dict(), allow_nan=False))
    assert record["options"] == SteeringOptions(metric="ece", **FEW).to_dict()
    assert SteeringOptions.from_dict(record["options"]) == SteeringOptions(metric="ece", **FEW)
    assert (tmp_path / "out" / record["source"]["run"]).resolve() == run.resolve()
    assert [point["beta"] for point in record["curve"]] == [0.5, 0.9, 1.0]
    assert record["curve"][0]["scores"].keys() >= {"accuracy", "log_loss", "ece", "brier", "aurc"}
    assert record["chosen_on"]["split"] == "validation"
    assert record["chosen_on"]["scores"]["ece"]["value"] == min(p["scores"]["ece"]["value"] for p in record["curve"])
    assert [row["kind"] for row in record["audit"]["before"]] == ["relu"]
    assert [row["steered"] for row in record["audit"]["after"]] == [True]
    assert {"trueline", "torch", "python"} == set(record["versions"])


def test_values_by_group_are_set_and_marked_nowhere_on_the_curve(tmp_path: Path) -> None:
    deep = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    subject = subject_of_model(deep, points(), name="deep")
    options = SteeringOptions(beta={"3": 0.5}, granularity="module", **FEW)
    steered = steer_run(subject, tmp_path / "out", options)
    test = subject.parts["test"].inputs
    expected = steer(deep, {"3": 0.5}, granularity="module", example=test)(test)
    torch.testing.assert_close(steered.model(test), expected)
    assert steered.findings.beta_text == "3 0.5"
    assert "chosen, at" not in steered.page.read_text()
    with pytest.raises(ValueError, match="unknown group 'three'"):
        steer_run(subject, tmp_path / "no", replace(options, beta={"three": 0.5}))


def test_statistics_are_recalibrated_for_the_steered_model_and_kept_for_the_original(tmp_path: Path) -> None:
    normed = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()
    kept = {name: value.clone() for name, value in normed.state_dict().items()}
    subject = subject_of_model(normed, points(), name="normed")
    options = SteeringOptions(beta=0.5, batch_norm="recalibrate", **FEW)
    steered = steer_run(subject, tmp_path / "out", options)
    assert all(torch.equal(kept[name], value) for name, value in normed.state_dict().items())
    test = subject.parts["test"]
    assert steered.findings.judgement.original == evaluate(test.labels, logits=normed(test.inputs).detach()).scores
    chosen_on = subject.parts["validation"].inputs
    twin = steer(normed, 0.5, example=chosen_on, batch_norm="recalibrate", batches=[chosen_on]).eval()
    torch.testing.assert_close(steered.model(test.inputs), twin(test.inputs))


def test_the_user_s_model_is_left_as_it_was_found(model: TwoFeatures, tmp_path: Path) -> None:
    model.train()
    model.first.weight.grad = torch.ones_like(model.first.weight)
    state, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    options = SteeringOptions(radius=0.2, betas=(0.9,), samples=10)
    steer_run(subject_of_model(model, points(), name="mine"), tmp_path / "out", options)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model.first.weight.grad, torch.ones_like(model.first.weight))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_plane_holds_what_the_model_answers_at_each_cell(model: TwoFeatures, tmp_path: Path) -> None:
    subject = subject_of_model(model, points(), name="mine")
    steered = steer_run(subject, tmp_path / "out", SteeringOptions(beta=0.9, **FEW))
    text = steered.page.read_text().split('<script type="application/json" id="plane">')[1].split("</script>")[0]
    plane = json.loads(text)
    side, betas = plane["side"], plane["betas"]
    cells = torch.from_numpy(np.frombuffer(base64.b64decode(plane["cells"]), dtype=np.uint8).astype(np.int64))
    cells = cells.reshape(len(betas), side, side)
    assert betas == [0.5, 0.9, 1.0]
    assert plane["levels"] == 256 // 3
    assert betas[plane["chosen"]] == 0.9
    (left, right), (low, high) = plane["x"], plane["y"]
    for k, beta in enumerate(betas):
        twin = steer(model, beta, example=subject.parts["validation"].inputs)
        for row, column in [(0, 0), (0, side - 1), (side // 3, side // 2), (side - 1, 5)]:  # rows from the top
            at = [left + (column + 0.5) * (right - left) / side, high - (row + 0.5) * (high - low) / side]
            probs = twin(torch.tensor([at])).softmax(1)[0]
            byte = int(cells[k, row, column])
            assert byte // plane["levels"] == int(probs.argmax())
            share = (byte % plane["levels"]) / (plane["levels"] - 1)
            assert 1 / 3 + share * 2 / 3 == pytest.approx(probs.max().item(), abs=0.01)
    drawn = torch.tensor(plane["points"])
    assert ((drawn >= torch.tensor([left, low])) & (drawn <= torch.tensor([right, high]))).all()


def test_words_call_a_change_a_change_only_beyond_noise(run: Path, tmp_path: Path) -> None:
    found = steer_run(subject_of_run(run), tmp_path / "out", SteeringOptions(beta=0.5, **FEW)).findings
    zero, up = Interval(0.01, -0.02, 0.04), Interval(0.05, 0.02, 0.08)
    changed = replace(found, judgement=replace(found.judgement, difference={"accuracy": up, "log_loss": zero}))
    choice, words = steering_verdict(changed)
    assert "as asked" in choice
    assert "accuracy is higher by 5.0 points (2.0 to 8.0)" in words
    assert "Within noise: log loss (0.010, −0.020 to 0.040)" in words
    quiet = replace(found, judgement=replace(found.judgement, difference={"accuracy": zero}))
    assert "nothing changes beyond noise: accuracy" in steering_verdict(quiet)[1]
    searched = replace(found, beta=0.5, options=replace(found.options, beta="search"), gain=zero)
    assert "Even there, where it was chosen, the gain is within noise." in steering_verdict(searched)[0]
    none = replace(found, beta=1.0, options=replace(found.options, beta="search"), gain=None)
    assert steering_verdict(none)[0].startswith("Steering does not help small")
    assert len(steering_verdict(none)) == 1
    assert [measure_name(name) for name in ("log_loss", "ks", "ece")] == [
        "log loss", "KS calibration error", "calibration error (ECE)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": 1.5}, r"beta must be 'search' or lie in \[0, 1\], got 1.5"),
        ({"beta": math.nan}, r"lie in \[0, 1\], got nan"),
        ({"beta": "best"}, "beta must be 'search'"),
        ({"beta": {"1": -0.1}, "granularity": "module"}, r"beta of 1 must lie in \[0, 1\], got -0.1"),
        ({"granularity": "module"}, "the search finds one value for all activations"),
        ({"granularity": "layer"}, "unknown granularity 'layer'"),
        ({"metric": "log_los"}, "did you mean 'log_loss'"),
        ({"mix": 2.0}, "mix must lie in"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"batch_norm": "train"}, "batch_norm must be"),
        ({"radius": 0.0}, "radius must be above 0"),
        ({"betas": (0.5, 2.0)}, "betas must lie in"),
        ({"samples": -1}, "samples and seed must be at least 0"),
        ({"metric": "robust_accuracy", "samples": 0}, "needs samples to attack"),
    ],
)
def test_an_option_that_is_wrong_is_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SteeringOptions(**options)


def test_what_cannot_be_done_is_said_and_leaves_no_folder(model: TwoFeatures, run: Path, tmp_path: Path) -> None:
    subject = subject_of_model(model, points(), name="mine")
    for options, words in [
        (SteeringOptions(metric="robust_accuracy"), "metric = 'robust_accuracy' has no radius"),
        (SteeringOptions(metric="top_5_accuracy", **FEW), "top_5_accuracy needs six classes"),
    ]:
        with pytest.raises(ValueError, match=words):
            steer_run(subject, tmp_path / "out", options)
    linear = subject_of_model(nn.Linear(2, 3), points(), name="linear")
    with pytest.raises(ValueError, match=r"nothing in Linear can be steered:\nno activation was executed"):
        steer_run(linear, tmp_path / "out", SteeringOptions(**FEW))
    one = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    two_classes = points().with_labels(torch.arange(120) % 2)
    binary = replace(two_classes, true_labels=two_classes.labels, class_names=("a", "b"))
    with pytest.raises(ValueError, match="must return logits of shape"):
        steer_run(subject_of_model(one, binary, name="one"), tmp_path / "out", SteeringOptions(**FEW))
    with pytest.raises(ValueError, match="at least 4 samples, got 3"):
        subject_of_model(model, points().select(torch.arange(3)), name="mine")
    with pytest.raises(TypeError, match=r"Module|module"):
        subject_of_model(lambda x: x, points(), name="mine")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_never_written_to(run: Path, tmp_path: Path) -> None:
    subject = subject_of_run(run)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all of it")
    (tmp_path / "file").write_text("")
    for out, words in [
        (run, "is the run itself"),
        (tmp_path / "full", "no steered run"),
        (tmp_path / "file", "a file"),
    ]:
        with pytest.raises(ValueError, match=words):
            steer_run(subject, out, SteeringOptions(**FEW))


def test_a_run_that_is_no_run_or_not_finished_or_steered_already_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run"):
        subject_of_run(tmp_path)
    out = tmp_path / "out"
    steer_run(subject_of_run(run), out, SteeringOptions(beta=0.9, **FEW))
    with pytest.raises(ValueError, match="is a steered run; give the run that it was made from"):
        subject_of_run(out)
    with pytest.raises(ValueError, match=r"has no steering\.json"):
        load_steered(run)


def test_a_run_without_held_out_samples_has_nothing_to_choose_on(tmp_path: Path) -> None:
    tables = {**CONFIG, "data": {**CONFIG["data"], "validation": 0.0, "calibration": 0.0}}
    bare = train(RunConfig.model_validate(tables), tmp_path / "bare", progress=False)
    with pytest.raises(ValueError, match="has no validation or calibration samples to make choices on"):
        steer_run(subject_of_run(bare), tmp_path / "out", SteeringOptions(**FEW))
    assert not (tmp_path / "out").exists()
    tables["data"]["calibration"] = 0.1
    some = train(RunConfig.model_validate(tables), tmp_path / "some", progress=False)
    assert subject_of_run(some).chooser == "calibration"


def test_a_data_set_that_has_changed_is_noticed(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trueline import data

    source = data.load("digits")
    turned = replace(source.train, labels=source.train.labels.flip(0), true_labels=source.train.labels.flip(0))
    monkeypatch.setattr(data, "load", lambda name, **options: data.Source(turned))
    with pytest.raises(ValueError, match="is not what it was when the run was trained"):
        subject_of_run(run)


def test_a_killed_write_is_no_finished_run_and_the_next_one_takes_its_place(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, out, options = subject_of_run(run), tmp_path / "out", SteeringOptions(beta=0.9, **FEW)

    def killed(self: RunFolder, name: str, tensors: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_tensors", killed)
        with pytest.raises(KeyboardInterrupt):
            steer_run(subject, out, options)
    assert not RunFolder(out).is_finished()
    assert json.loads((out / "steering.json").read_text())["beta"] == 0.9
    steer_run(subject, out, options)
    assert RunFolder(out).is_finished()
    assert not [path for path in out.iterdir() if path.name.endswith(".tmp")]


def test_progress_counts_up_and_ends_at_its_total(model: TwoFeatures, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    options = SteeringOptions(radius=0.2, betas=(0.5, 0.9), samples=10)
    subject = subject_of_model(model, points(), name="mine")
    steer_run(subject, tmp_path / "out", options, progress=lambda done, total: seen.append((done, total)))
    done = [count for count, _ in seen]
    assert done == sorted(done)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1]


def test_with_too_few_samples_the_ends_of_intervals_are_unknown_and_nothing_is_certain(
    model: TwoFeatures, tmp_path: Path
) -> None:
    subject = subject_of_model(model, points(20), name="mine")
    options = SteeringOptions(beta=0.0, betas=(0.5,), samples=1, radius=0.1)
    steered = steer_run(subject, tmp_path / "out", options)
    differences = json.loads((tmp_path / "out" / "steering.json").read_text())["test"]["difference"]
    for name in ("log_loss", "ece", "normalised_curvature"):
        assert differences[name]["low"] is differences[name]["high"] is None
        assert math.isfinite(differences[name]["value"])
    assert "too few samples to tell" in steered.page.read_text()

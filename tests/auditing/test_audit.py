"""The audit as its callers meet it: from arrays to verdict, tables and notes."""

import json
import math

import numpy as np
import pytest
import torch

import trueline
from trueline.auditing import Audit, audit, audit_predictions
from trueline.calibrate import TemperatureScaling
from trueline.contracts import cross_fit
from trueline.measure import evaluate
from trueline.predictions import PredictionSet, _checked_blocks, from_arrays
from trueline.predictions import _prediction_set as prediction_module


def predictions(n: int, classes: int = 4, *, seed: int = 0, sharp: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), sharp * logits


def test_the_verb_is_where_a_newcomer_looks() -> None:
    assert trueline.audit is audit
    assert "audit" in dir(trueline)


def test_one_model_is_measured_as_given_and_after_its_temperature() -> None:
    labels, logits = predictions(800, sharp=2.5)
    (model,) = audit(labels.numpy(), logits=logits.numpy()).models
    expected = evaluate(labels, logits=logits)
    assert model.evaluation.scores == expected.scores
    assert model.temperature is not None
    assert model.temperature.value == TemperatureScaling().fit(labels, logits=logits).temperature_
    after = evaluate(labels, logits=cross_fit(TemperatureScaling, labels, logits=logits))
    for name, interval in after.scores.items():
        assert model.temperature.evaluation.scores[name].value == pytest.approx(interval.value, abs=1e-9)
    assert model.temperature.change["ece"].high < 0
    assert model.refinement == model.temperature.evaluation.scores["log_loss"]


def test_held_out_samples_fit_the_temperature() -> None:
    labels, logits = predictions(300, sharp=2)
    other_labels, other_logits = predictions(200, seed=1, sharp=3)
    (model,) = audit(labels, logits=logits, held_out=(other_labels, other_logits)).models
    assert model.temperature is not None
    fitted = TemperatureScaling().fit(other_labels, logits=other_logits)
    assert model.temperature.value == fitted.temperature_
    assert (model.temperature.folds, model.temperature.samples) == (None, 200)
    scaled = evaluate(labels, logits=fitted.transform(logits=logits))
    assert model.temperature.evaluation.scores["ece"].value == pytest.approx(scaled.scores["ece"].value, abs=1e-9)


def test_several_models_are_compared_on_the_same_samples() -> None:
    labels, logits = predictions(500)
    found = audit(labels, logits={"plain": logits, "sharp": 3 * logits, "noisy": logits + torch.randn_like(logits)})
    assert [model.name for model in found.models] == ["plain", "sharp", "noisy"]
    assert [(c.model, c.baseline) for c in found.comparisons] == [("sharp", "plain"), ("noisy", "plain")]
    assert found.comparisons[0].before["ece"].low > 0
    assert found.comparisons[0].after is not None
    assert not found.comparisons[0].after["ece"].excludes_zero
    stops = found.models[0].sweep.temperatures
    for model in found.models:
        assert torch.equal(model.sweep.temperatures, stops)
        assert model.temperature is not None
        assert model.temperature.value in stops.tolist() or (stops - model.temperature.value).abs().min() < 1e-9


def test_models_on_other_samples_are_not_compared() -> None:
    sets = []
    for seed in range(2):
        labels, logits = predictions(60, seed=seed)
        sets.append(from_arrays(labels, logits=logits, name=str(seed)))
    found = audit_predictions(sets)
    assert found.comparisons == ()
    assert any("not tested on the same samples" in paragraph for paragraph in found.verdict)


def test_classes_have_recall_precision_and_honesty() -> None:
    labels, logits = predictions(600)
    (model,) = audit(labels, logits=logits, class_names=["a", "b", "c", "d"]).models
    prediction, confidence = logits.argmax(1), logits.softmax(1).amax(1)
    for k, row in enumerate(model.classes):
        mine, said = labels == k, prediction == k
        assert (row.name, row.samples, row.predicted) == ("abcd"[k], int(mine.sum()), int(said.sum()))
        assert row.recall.value == pytest.approx((mine & said).sum().item() / mine.sum().item())
        assert row.precision.value == pytest.approx((mine & said).sum().item() / said.sum().item())
        assert row.confidence == pytest.approx(confidence[said].mean().item())
        assert row.gap == pytest.approx(row.confidence - row.precision.value)
        assert row.recall.low < row.recall.value < row.recall.high
    mean = sum(row.calibration_error for row in model.classes) / 4
    assert mean == pytest.approx(model.evaluation.scores["ece_classwise"].value)


def test_groups_are_measured_one_by_one() -> None:
    labels, logits = predictions(300)
    (model,) = audit(labels, logits=logits, groups=[10, 9] * 150).models
    assert [row.name for row in model.groups] == ["9", "10"]
    assert model.groups[0].evaluation.scores == evaluate(labels[1::2], logits=logits[1::2]).scores


def test_a_group_without_weight_is_as_if_it_were_not_there() -> None:
    labels, logits = predictions(300)
    groups, weight = torch.arange(300) % 3, (torch.arange(300) % 3 != 1).double()
    (model,) = audit(labels, logits=logits, groups=groups.tolist(), weight=weight).models
    assert [row.name for row in model.groups] == ["0", "2"]


def test_samples_of_a_group_do_not_depend_on_where_blocks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = predictions(400)
    weight = (torch.arange(400) >= 200).double()
    found = []
    for block in (10_000, 400):
        monkeypatch.setattr(_checked_blocks, "BLOCK", block)
        (model,) = audit(labels, logits=logits, groups=[0, 1] * 200, weight=weight).models
        found.append([row.evaluation.samples for row in model.groups])
    assert found[0] == found[1]


def test_the_most_confident_mistakes_come_first_with_their_pictures() -> None:
    pytest.importorskip("PIL")
    labels, logits = predictions(200, sharp=2)
    images = torch.randint(0, 256, (200, 6, 6, 3), dtype=torch.uint8)
    (model,) = audit(labels, logits=logits, images=images).models
    probs = logits.softmax(1)
    wrong = (logits.argmax(1) != labels).nonzero().squeeze(1)
    order = wrong[probs[wrong].amax(1).argsort(descending=True)]
    assert [mistake.index for mistake in model.mistakes] == order[:24].tolist()
    for mistake in model.mistakes:
        assert mistake.label == labels[mistake.index]
        assert mistake.prediction == logits[mistake.index].argmax()
        assert mistake.label_probability == pytest.approx(probs[mistake.index, mistake.label].item())
        assert mistake.picture is not None
        assert mistake.picture.startswith("data:image/png;base64,")


def test_an_outside_set_is_told_apart_by_its_confidence() -> None:
    labels, logits = predictions(400, sharp=2)
    (model,) = audit(labels, logits=logits, outside=0.1 * torch.randn(150, 4)).models
    assert [row.score.partition(" ")[0] for row in model.detection] == ["largest", "entropy", "log"]
    assert all(row.samples == 150 and row.auroc.value > 0.8 for row in model.detection)
    (again,) = audit(labels, probs=logits.softmax(1), outside=torch.full((150, 4), 0.25)).models
    assert [row.score.partition(" ")[0] for row in again.detection] == ["largest", "entropy"]
    with pytest.raises(ValueError, match=r"4 classes.*got logits of 3"):
        audit(labels, logits=logits, outside=torch.randn(5, 3))


def test_binary_predictions_may_be_one_number() -> None:
    labels, logits = predictions(100, 2)
    pair, single = (audit(labels, logits=given) for given in (logits, logits[:, 1] - logits[:, 0]))
    for name, interval in pair.models[0].evaluation.scores.items():
        assert single.models[0].evaluation.scores[name].value == pytest.approx(interval.value, abs=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 29])
def test_few_samples_are_audited_without_a_temperature(samples: int) -> None:
    labels, logits = predictions(samples)
    found = audit(labels, logits=logits)
    assert found.models[0].temperature is None
    assert any("at least 30 samples" in note for note in found.models[0].notes)
    assert found.verdict[0]
    json.dumps(found.to_dict(), allow_nan=False)


def test_all_right_all_wrong_and_constant_predictions_are_audited() -> None:
    right = 5 * torch.eye(3).repeat(20, 1)
    for labels, logits in (
        (torch.arange(3).repeat(20), right),
        (torch.arange(3).repeat(20).roll(1), right),
        (torch.arange(3).repeat(20), torch.zeros(60, 3)),
    ):
        found = audit(labels, logits=logits)
        assert all(math.isfinite(i.value) for i in found.models[0].evaluation.scores.values())
        json.dumps(found.to_dict(), allow_nan=False)
    assert any(
        "No finite temperature" in note for note in audit(torch.arange(3).repeat(20), logits=right).models[0].notes
    )
    assert audit(torch.arange(3).repeat(20), logits=right).models[0].temperature is None
    assert "No prediction is wrong" in audit(torch.arange(3).repeat(20), logits=right).verdict[1]


def test_notes_name_what_is_unusual() -> None:
    labels, logits = predictions(400, 5)
    shifted = audit((labels + 1) % 5, logits=8 * torch.nn.functional.one_hot(labels, 5).double()).models[0].notes
    assert any("counted from 1" in note for note in shifted)
    kept = labels < 3
    absent = audit(labels[kept], logits=logits[kept]).models[0].notes
    assert any("2 of 5 classes have no sample: 3, 4." in note for note in absent)
    for dtype in (torch.float32, torch.float64):
        probs = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=dtype).repeat(30, 1)
        certain = audit(torch.zeros(60, dtype=torch.int64), probs=probs).models[0].notes
        assert any("60 of 60 confidences are exactly 1" in note for note in certain)
        assert any("30 labels have a probability of exactly 0" in note for note in certain)
    assert audit(labels, logits=logits).models[0].notes == ()


def test_large_sets_keep_a_random_part_for_the_sliders(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = predictions(500, sharp=2)
    whole = audit(labels, logits=logits).models[0]
    monkeypatch.setattr(prediction_module, "KEPT", 4 * 120)
    part = audit(labels, logits=logits).models[0]
    assert part.sweep.samples == 120
    assert part.evaluation.scores == whole.evaluation.scores
    assert part.temperature is not None
    assert part.temperature.evaluation.samples == 120
    assert any("120 samples drawn at random from 500" in note for note in part.notes)


def test_blocks_of_any_size_give_the_same_audit() -> None:
    labels, logits = predictions(300)
    groups = torch.arange(300) % 2

    def cut(size: int) -> PredictionSet:
        return PredictionSet(
            "m", "blocks", "logits", labels, 4, lambda: iter(logits.split(size)), groups=groups, group_names=("a", "b")
        )

    first, second = (audit_predictions([cut(size)]).to_dict() for size in (300, 7))
    for one, other in zip(first["scores"] + first["groups"], second["scores"] + second["groups"], strict=True):
        assert one["value"] == pytest.approx(other["value"], abs=1e-12)


def test_progress_counts_the_samples_of_all_models() -> None:
    labels, logits = predictions(50)
    seen: list[tuple[int, int]] = []
    sets = [from_arrays(labels, logits=logits, name=name) for name in "ab"]
    audit_predictions(sets, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(50, 100), (100, 100)]


def test_the_tables_are_flat_and_complete() -> None:
    labels, logits = predictions(200)
    groups, outside = ["x", "y"] * 100, torch.randn(20, 4)
    named = {"a": logits, "b": 2 * logits}
    found = audit(labels, logits=named, groups=groups, outside={"a": outside, "b": outside}).to_dict()
    record = json.loads(json.dumps(found, allow_nan=False))
    lists = {name: rows for name, rows in record.items() if name not in ("title", "verdict", "class_names")}
    for name, rows in lists.items():
        assert all(not isinstance(value, dict | list) for row in rows for value in row.values()), name
        assert len({tuple(row) for row in rows if row.get("measure") != "ece"}) <= 1, name
    assert {row["model"] for row in record["scores"]} == {"a", "b"}
    assert len(record["classes"]) == 8
    assert len(record["bins"]) == 30
    assert {row["group"] for row in record["groups"]} == {"x", "y"}
    assert len(record["detection"]) == 6
    assert record["differences"][0]["baseline"] == "a"


def test_names_that_cannot_be_told_apart_or_do_not_fit_are_refused() -> None:
    labels, logits = predictions(40)
    one = from_arrays(labels, logits=logits, name="m")
    for broken, words in (
        (lambda: audit_predictions([]), "at least one model"),
        (lambda: audit_predictions([one, one]), "different names"),
        (lambda: audit_predictions([one], outside=[one, one]), "one outside set"),
        (lambda: audit(labels), "neither"),
        (lambda: audit(labels, logits=logits, probs=logits.softmax(1)), "both"),
        (lambda: audit(labels, logits={"a": logits, "b": logits}, outside=logits), "must map each"),
        (lambda: audit(labels, logits={"a": logits}, outside={"b": logits}), "got b"),
        (lambda: audit(labels, logits={"a": logits, "b": logits[:, :3]}), "of at least 4 classes"),
    ):
        with pytest.raises(ValueError, match=words):
            broken()


def test_inputs_and_random_state_are_left_alone() -> None:
    labels, logits = predictions(60)
    copies, state = (labels.clone(), logits.clone()), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  # the state is looked at, not drawn from
    audit(labels, logits=logits)
    assert torch.equal(labels, copies[0])
    assert torch.equal(logits, copies[1])
    assert torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_the_same_predictions_give_the_same_audit() -> None:
    labels, logits = predictions(90)
    first, second = (json.dumps(audit(labels, logits=logits).to_dict()) for _ in range(2))
    assert first == second


def test_it_prints_its_verdict() -> None:
    found = audit(*[predictions(60)[0]], logits=predictions(60)[1])
    assert isinstance(found, Audit)
    assert str(found) == "\n\n".join(found.verdict)

"""Every measure at once: the same values as one by one, however the samples arrive, with intervals that hold."""

import json
import math
import pickle

import pytest
import torch

from trueline.measure import (
    MEASURES,
    Evaluation,
    Evaluator,
    accuracy,
    brier,
    calibration_error,
    confidence_gap,
    evaluate,
    ks_calibration_error,
    log_loss,
    null_calibration,
    read_outcomes,
    risk_coverage,
    smooth_calibration_error,
    top_k_accuracy,
)
from trueline.measure._resampling import FEWEST


def predictions(
    n: int, *, classes: int = 8, seed: int = 0, sharpness: float = 1.0, signal: float = 2.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels drawn from the softmax of logits, which ``sharpness`` then overstates."""
    generator = torch.Generator().manual_seed(seed)
    logits = signal * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    labels = logits.softmax(1).multinomial(1, generator=generator).squeeze(1)
    return labels, logits * sharpness


def each_measure(labels: torch.Tensor, weight: torch.Tensor | None = None, **given: torch.Tensor) -> dict[str, float]:
    share = torch.ones(len(labels), dtype=torch.float64) if weight is None else weight.double()

    def mean(values: torch.Tensor) -> float:
        return (values @ share / share.sum()).item()

    def error(**options: object) -> float:
        return calibration_error(labels, **given, weight=weight, **options).item()

    curve = risk_coverage(labels, **given, weight=weight)
    classes = next(iter(given.values())).shape[1]
    return {
        "accuracy": mean(accuracy(labels, **given)),
        "top_5_accuracy": mean(top_k_accuracy(labels, k=min(5, classes), **given)),
        "log_loss": mean(log_loss(labels, **given)),
        "brier": mean(brier(labels, **given)),
        "confidence_gap": mean(confidence_gap(labels, **given)),
        "ece": error(),
        "mce": error(norm=math.inf),
        "ace": error(binning="mass"),
        "ece_classwise": error(classwise=True),
        "ece_rms": error(norm=2),
        "ece_debiased": error(binning="mass", norm=2, debias=True),
        "ks": ks_calibration_error(labels, **given, weight=weight).item(),
        "smooth_ece": smooth_calibration_error(labels, **given, weight=weight).item(),
        "aurc": curve.area,
        "excess_aurc": curve.excess_area,
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["logits", "probs", "float16"])
def test_values_are_those_of_the_single_measures(kind: str, weighted: bool) -> None:
    labels, logits = predictions(700, sharpness=2.0)
    weight = torch.rand(700, generator=torch.Generator().manual_seed(1)) if weighted else None
    given = {"logits": logits} if kind == "logits" else {"probs": logits.softmax(1).float()}
    given = {"probs": given["probs"].half()} if kind == "float16" else given
    found = evaluate(labels, **given, weight=weight)
    expected = each_measure(labels, weight, **given)
    assert list(found.scores) == list(MEASURES)
    for name, value in expected.items():
        assert found.scores[name].value == pytest.approx(value, abs=1e-12), name
    assert found.confidence - found.scores["accuracy"].value == pytest.approx(expected["confidence_gap"], abs=1e-12)
    assert found.brier_parts.score == pytest.approx(expected["brier"], abs=1e-12)
    assert found.noise == null_calibration(**given, weight=weight).error_limit


@pytest.mark.parametrize("name", ["F1", "F4", "F6 test", "F7"])
def test_values_are_those_of_the_single_measures_on_real_predictions(name: str, request: pytest.FixtureRequest) -> None:
    labels, given = request.getfixturevalue("predictions")(name)
    found = evaluate(labels, **given)
    for measure, value in each_measure(labels, **given).items():
        if measure in found.scores:
            assert found.scores[measure].value == pytest.approx(value, abs=1e-12), measure


@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_and_processes_give_what_one_call_gives(weighted: bool) -> None:
    labels, logits = predictions(500, classes=3, sharpness=1.5)
    weight = torch.rand(500, generator=torch.Generator().manual_seed(1)) if weighted else None
    whole = evaluate(labels, logits=logits, weight=weight)
    parts = [Evaluator(3), Evaluator(3)]
    for start, stop, process in ((0, 7, 0), (7, 250, 0), (250, 251, 1), (251, 500, 1)):
        rows = slice(start, stop)
        parts[process].add(labels[rows], logits=logits[rows], weight=None if weight is None else weight[rows])
    merged = parts[0].merge(parts[1]).result()
    for name, interval in whole.scores.items():
        assert merged.scores[name].value == pytest.approx(interval.value, abs=1e-12), name
        if name != "ece_classwise":  # its resampled batches depend on where a process began to count
            assert merged.scores[name].low == pytest.approx(interval.low, abs=1e-9), name
    assert torch.equal(merged.confusion, whole.confusion)
    assert merged.noise == pytest.approx(whole.noise, abs=1e-12)


def test_an_evaluator_travels_between_processes() -> None:
    labels, logits = predictions(120, classes=3)
    halves = [Evaluator(3).add(labels[part], logits=logits[part]) for part in (slice(0, 50), slice(50, 120))]
    first, second = (pickle.loads(pickle.dumps(half)) for half in halves)
    whole = evaluate(labels, logits=logits).scores
    assert first.merge(second).result().scores["ece"] == whole["ece"]


def test_merging_leaves_both_as_they_were_and_refuses_others() -> None:
    labels, logits = predictions(60, classes=3)
    first, second = Evaluator(3).add(labels, logits=logits), Evaluator(3)
    first.merge(second)
    assert first.result().samples == 60
    with pytest.raises(ValueError, match="at least one sample"):
        second.result()
    with pytest.raises(ValueError, match="a weight above zero"):
        second.add(labels, logits=logits, weight=torch.zeros(60)).result()
    with pytest.raises(ValueError, match="same classes and bins"):
        first.merge(Evaluator(4))
    with pytest.raises(ValueError, match="both none"):
        first.merge(Evaluator(3).add(labels, logits=logits, weight=torch.ones(60)))
    with pytest.raises(ValueError, match="every block"):
        first.add(labels, logits=logits, weight=torch.ones(60))
    with pytest.raises(ValueError, match="3 classes, got 4"):
        first.add(labels, logits=torch.zeros(60, 4))


def test_constant_weights_are_no_weights_and_a_weight_of_zero_is_absence() -> None:
    labels, logits = predictions(400, classes=4, sharpness=2)
    plain, constant = evaluate(labels, logits=logits), evaluate(labels, logits=logits, weight=torch.full((400,), 0.3))
    for name, interval in plain.scores.items():
        assert constant.scores[name].value == pytest.approx(interval.value, abs=1e-12), name
        assert constant.scores[name].low == pytest.approx(interval.low, abs=1e-9), name
    weight = torch.ones(400)
    weight[300:] = 0
    kept, fewer = evaluate(labels, logits=logits, weight=weight), evaluate(labels[:300], logits=logits[:300])
    for name, interval in fewer.scores.items():
        assert kept.scores[name].value == pytest.approx(interval.value, abs=1e-12), name


def test_every_interval_holds_its_value() -> None:
    for n in (FEWEST, 200):
        for seed in range(10):
            found = evaluate(*predictions(n, seed=seed)[:1], logits=predictions(n, seed=seed)[1])
            for name, interval in found.scores.items():
                assert interval.low <= interval.value <= interval.high, name
                if name != "confidence_gap" and MEASURES[name].unit == "points" and "aurc" not in name:
                    assert interval.low >= 0, name
                    assert interval.high <= 1, name


@pytest.mark.parametrize(
    ("measure", "draw"),
    [
        ("ece", lambda labels, logits: calibration_error(labels, logits=logits)),
        ("ece_rms", lambda labels, logits: calibration_error(labels, logits=logits, norm=2)),
        ("ks", lambda labels, logits: ks_calibration_error(labels, logits=logits)),
        ("aurc", lambda labels, logits: torch.tensor(risk_coverage(labels, logits=logits).area)),
        ("log_loss", lambda labels, logits: log_loss(labels, logits=logits).mean()),
        ("brier", lambda labels, logits: brier(labels, logits=logits).mean()),
        ("ece_classwise", lambda labels, logits: calibration_error(labels, logits=logits, classwise=True)),
    ],
)
def test_intervals_from_sums_are_as_wide_as_those_from_resampled_rows(measure: str, draw) -> None:
    labels, logits = predictions(800, classes=4, sharpness=2.5)
    interval = evaluate(labels, logits=logits).scores[measure]
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(400):
        rows = torch.randint(800, (800,), generator=generator)
        draws.append(draw(labels[rows], logits[rows]).item())
    low, high = torch.tensor(draws, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    # 400 draws leave about 8 % on the distance between two such quantiles, 64 batches another 9 %.
    allowed = 0.35 if measure == "ece_classwise" else 0.2
    assert interval.high - interval.low == pytest.approx(high - low, rel=allowed)


@pytest.fixture(scope="module")
def many() -> list[tuple[Evaluation, Evaluation]]:
    """Over-confident and calibrated predictions on 80 data sets."""
    found = []
    for seed in range(80):
        labels, logits = predictions(250, classes=4, seed=seed)
        found.append((evaluate(labels, logits=2 * logits), evaluate(labels, logits=logits)))
    return found


@pytest.mark.parametrize("measure", ["ece", "ece_rms", "ks", "smooth_ece", "log_loss", "brier", "accuracy", "aurc"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(
    measure: str, many: list[tuple[Evaluation, Evaluation]]
) -> None:
    """At 95 %, fewer than 69 of 80 would be seen once in two thousand times."""
    labels, logits = predictions(200_000, classes=4, seed=99)
    truth = each_measure(labels, logits=2 * logits)[measure]
    assert sum(sharp.scores[measure].low <= truth <= sharp.scores[measure].high for sharp, _ in many) >= 69


def test_a_calibrated_model_is_within_noise_in_19_of_20_cases(many: list[tuple[Evaluation, Evaluation]]) -> None:
    assert sum(calibrated.within_noise for _, calibrated in many) >= 69
    assert sum(sharp.within_noise for sharp, _ in many) <= 8


@pytest.mark.slow
def test_a_calibrated_model_is_beyond_noise_in_5_percent_of_cases() -> None:
    beyond = 0
    for seed in range(1000):
        labels, logits = predictions(250, classes=4, seed=1000 + seed)
        beyond += not evaluate(labels, logits=logits).within_noise
    assert 0.03 <= beyond / 1000 <= 0.07  # three standard errors around 5 %


def test_groups_have_every_measure_and_the_worst_is_named() -> None:
    labels, logits = predictions(600, classes=6, sharpness=1.0)
    groups = ["night" if i % 3 == 0 else "day" for i in range(600)]
    logits[::3] = logits[::3].roll(1, 1)  # what is seen at night says nothing
    found = evaluate(labels, logits=logits, groups=groups)
    assert list(found.groups) == ["day", "night"]
    night = evaluate(labels[::3], logits=logits[::3])
    for name, interval in night.scores.items():
        assert found.groups["night"].scores[name].value == pytest.approx(interval.value, abs=1e-12)
    for measure in ("accuracy", "log_loss", "ece", "confidence_gap"):
        assert found.worst_group(measure) == "night"
    assert evaluate(labels, logits=logits).worst_group() is None
    assert list(evaluate(labels, logits=logits, groups=torch.arange(600) // 300).groups) == ["0", "1"]
    with pytest.raises(ValueError, match="600, got 2"):
        evaluate(labels, logits=logits, groups=["a", "b"])


def test_differences_are_paired() -> None:
    labels, logits = predictions(2000, classes=4)
    noisy = logits + 0.3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    first, second = evaluate(labels, logits=logits), evaluate(labels, logits=noisy)
    change = second.minus(first)
    for name in ("accuracy", "log_loss", "brier", "confidence_gap", "ece"):
        expected = second.scores[name].value - first.scores[name].value
        assert change[name].value == pytest.approx(expected, abs=1e-12)
        assert change[name].low <= change[name].value <= change[name].high
    alone = [evaluation.scores["log_loss"] for evaluation in (first, second)]
    assert change["log_loss"].high - change["log_loss"].low < 0.6 * (alone[0].high - alone[0].low)
    nothing = first.minus(first)
    assert all(nothing[name].value == 0 and not nothing[name].excludes_zero for name in nothing)
    with pytest.raises(ValueError, match="same samples"):
        first.minus(evaluate(labels.roll(1), logits=logits))


@pytest.mark.slow
def test_a_difference_is_claimed_no_more_often_than_it_should() -> None:
    """Two models that are equally good by symmetry: 5 % of 80 pairs differ beyond noise, 11 once in two thousand."""
    claimed = dict.fromkeys(("accuracy", "log_loss", "brier", "confidence_gap", "ece"), 0)
    for seed in range(80):
        labels, logits = predictions(250, classes=4, seed=seed)
        generator = torch.Generator().manual_seed(1000 + seed)
        pair = [logits + 0.8 * torch.randn(logits.shape, generator=generator) for _ in range(2)]
        first, second = (evaluate(labels, logits=one) for one in pair)
        for measure, difference in second.minus(first).items():
            claimed[measure] += difference.excludes_zero
    assert max(claimed.values()) <= 10, claimed


def test_differences_turn_around_when_the_models_are_exchanged() -> None:
    labels, logits = predictions(100)
    a, b = evaluate(labels, logits=logits), evaluate(labels, logits=logits * 3)
    for name, there in a.minus(b).items():
        back = b.minus(a)[name]
        assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_doubling_the_logits_of_a_calibrated_model_is_found() -> None:
    labels, logits = predictions(400)
    found = evaluate(labels, logits=2 * logits).minus(evaluate(labels, logits=logits))
    assert found["ece"].low > 0
    assert found["log_loss"].low > 0
    assert not found["accuracy"].excludes_zero


@pytest.mark.parametrize(("gained", "lost", "differs"), [(4, 0, False), (6, 0, True), (0, 6, True), (6, 3, False)])
def test_few_discordant_samples_are_judged_as_the_sign_test_would(gained: int, lost: int, differs: bool) -> None:
    labels, right = torch.zeros(360, dtype=torch.int64), torch.tensor([[0.9, 0.1]]).repeat(360, 1)
    ours, theirs = right.clone(), right.clone()
    theirs[:gained] = theirs[:gained].flip(1)
    ours[gained : gained + lost] = ours[gained : gained + lost].flip(1)
    interval = evaluate(labels, probs=ours).minus(evaluate(labels, probs=theirs))["accuracy"]
    assert interval.value == pytest.approx((gained - lost) / 360)
    assert interval.excludes_zero is differs


def two_calibrated_models(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exact posteriors given one of two independent features, and given both."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (100,), generator=generator)
    logits = []
    for spread in (1.2, 1.5):
        means = spread * torch.randn(5, 2, generator=generator)
        feature = means[labels] + torch.randn(100, 2, generator=generator)
        logits.append(-(feature[:, None] - means).square().sum(dim=2) / 2)
    return logits[0], logits[0] + logits[1], labels


@pytest.mark.slow
def test_calibrated_models_of_different_skill_are_seldom_called_differently_calibrated() -> None:
    found = {"accuracy": 0, "ece": 0}
    for seed in range(60):
        weak, strong, labels = two_calibrated_models(seed)
        change = evaluate(labels, logits=strong).minus(evaluate(labels, logits=weak))
        for name in found:
            found[name] += change[name].excludes_zero
    assert found["ece"] <= 7  # 3 expected at the nominal 5 %
    assert found["accuracy"] > 30


def test_a_perfect_score_keeps_its_wilson_interval_and_is_no_evidence_of_modesty() -> None:
    probs = torch.tensor([[0.98, 0.02]]).repeat(50, 1)
    found = evaluate(torch.zeros(50, dtype=torch.int64), probs=probs).scores
    assert found["accuracy"].value == found["accuracy"].high == 1
    assert found["accuracy"].low == pytest.approx(50 / (50 + 1.959963984540054**2))
    assert not found["confidence_gap"].excludes_zero
    assert found["confidence_gap"].low == pytest.approx(found["accuracy"].value - 0.02 - found["accuracy"].high)


def test_one_sample_proves_nothing() -> None:
    label = torch.tensor([0])
    good, bad = evaluate(label, logits=torch.tensor([[9.0, 0.0]])), evaluate(label, logits=torch.tensor([[0.0, 9.0]]))
    assert not any(change.excludes_zero for change in good.minus(bad).values())
    assert not good.scores["confidence_gap"].excludes_zero


def test_the_same_predictions_give_the_same_numbers() -> None:
    labels, logits = predictions(60)
    assert evaluate(labels, logits=logits).scores == evaluate(labels, logits=logits).scores


def test_too_few_samples_give_values_without_ends() -> None:
    labels, logits = predictions(5)
    found = evaluate(labels, logits=logits)
    assert found.scores["log_loss"].high == math.inf
    assert found.scores["ece"].low == -math.inf
    assert found.scores["accuracy"].high <= 1  # a Wilson interval is honest about any number


@pytest.mark.parametrize(
    ("labels", "probs"),
    [
        ([0], [[1.0, 0.0]]),
        ([1], [[1.0, 0.0]]),
        ([0] * 40, [[1.0, 0.0]] * 40),
        ([1] * 40, [[1.0, 0.0]] * 40),
        ([0] * 40, [[0.5, 0.5]] * 40),
        ([0, 1] * 40, [[0.7, 0.3]] * 80),
    ],
)
def test_one_sample_one_class_saturation_and_ties_give_finite_values(labels: list, probs: list) -> None:
    found = evaluate(torch.tensor(labels), probs=torch.tensor(probs))
    assert all(math.isfinite(interval.value) for interval in found.scores.values())
    json.dumps(found.to_dict(), allow_nan=False)


def test_two_classes_in_any_shape_are_the_same() -> None:
    labels, logits = predictions(300, classes=2)
    odds = logits[:, 1] - logits[:, 0]
    pair, single = evaluate(labels, logits=logits), evaluate(labels, logits=odds)
    for name, interval in pair.scores.items():
        assert single.scores[name].value == pytest.approx(interval.value, abs=1e-12), name


def test_the_record_is_ready_for_json_and_names_every_measure() -> None:
    labels, logits = predictions(100, classes=3)
    record = json.loads(json.dumps(evaluate(labels, logits=logits, groups=labels % 2).to_dict(), allow_nan=False))
    assert [row["measure"] for row in record["scores"]] == [name for name in MEASURES if name != "top_5_accuracy"]
    assert sum(map(sum, record["confusion"])) == 100
    assert set(record["groups"]) == {"0", "1"}


def test_outcomes_are_read_with_their_checks() -> None:
    labels, logits = predictions(50)
    rows = read_outcomes(labels, logits=logits)
    assert len(rows) == 50
    assert rows.effective == 50
    assert rows.reliability(bins=5).count.sum() == 50
    assert rows.risk_coverage().samples == 50
    with pytest.raises(ValueError, match="labels must lie"):
        read_outcomes(labels + 8, logits=logits)

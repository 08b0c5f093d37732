"""Sentences say what the numbers say, and call a difference one only beyond noise."""

from dataclasses import replace

import pytest

from trueline.numerics import Interval
from trueline.page import NBSP
from trueline.report import BeliefCounts, Comparison, RunSummary, Scores, Summary, Temperature, verdict


def interval(value: float, half: float = 0.02) -> Interval:
    return Interval(value, value - half, value + half)


def scores(accuracy: float = 0.7, confidence: float = 0.9, *, error: float = 0.2, noise: float = 0.05) -> Scores:
    return Scores(
        samples=360,
        confidence=confidence,
        accuracy=interval(accuracy),
        log_loss=interval(0.8),
        brier=interval(0.4),
        ece=interval(error),
        confidence_gap=interval(confidence - accuracy),
        noise=noise,
    )


def temperature(change: float, after: float = 0.03, wrong: int | None = 0, samples: int = 180) -> Temperature:
    return Temperature(2.5, samples, wrong, scores(error=after), {"ece": interval(change)})


def run(label: str = "DPS", **changes: object) -> RunSummary:
    return replace(RunSummary(label, scores(), train_samples=1000, wrong_labels=400), **changes)  # type: ignore[arg-type]


def differences(accuracy: float, log_loss: float = 0.0, error: float = 0.0) -> dict[str, Interval]:
    return {"accuracy": interval(accuracy), "log_loss": interval(log_loss), "ece": interval(error)}


def read(*runs: RunSummary, comparisons: tuple[Comparison, ...] = ()) -> list[str]:
    return [text.replace(NBSP, " ") for text in verdict(Summary(runs, comparisons))]


def test_one_overconfident_run() -> None:
    assert read(run())[0] == (
        "Trained on 1,000 samples with 40.0 % wrong labels, the network is right on 70.0 % of 360 unseen samples "
        "while claiming 90.0 %: it is over-confident by 20.0 points."
    )


def test_one_underconfident_run() -> None:
    lead = read(run(scores=scores(0.9, 0.8)))[0]
    assert lead.endswith("while claiming only 80.0 %: it is under-confident by 10.0 points.")


@pytest.mark.parametrize("confidence", [0.71, 0.69, 0.7])
def test_a_gap_whose_interval_holds_zero_is_no_gap(confidence: float) -> None:
    lead = read(run(scores=scores(0.7, confidence)))[0]
    assert lead.endswith("which agrees within noise.")
    assert "confident" not in lead


@pytest.mark.parametrize(
    ("samples", "wrong", "start"),
    [
        (1000, 0, "Trained on 1,000 samples with no label known to be wrong, the network is right on 70.0 %"),
        (None, None, "The network is right on 70.0 %"),
        (1000, 1000, "Trained on 1,000 samples with 100.0 % wrong labels, the network"),
    ],
)
def test_what_is_known_about_training_labels_is_said(samples: int | None, wrong: int | None, start: str) -> None:
    assert read(run(train_samples=samples, wrong_labels=wrong))[0].startswith(start)


def test_runs_trained_alike_share_the_setting() -> None:
    lead = read(run("cross-entropy"), run("DPS", scores=scores(0.94, 0.9)))[0]
    assert lead.startswith("Trained on 1,000 samples with 40.0 % wrong labels, cross-entropy is right on 70.0 %")
    assert "DPS is right on 94.0 % while claiming only 90.0 %" in lead
    assert lead.count("Trained") == lead.count("unseen samples") == 1


def test_runs_trained_differently_say_so_each() -> None:
    lead = read(run("a"), run("b", wrong_labels=0), run("c", wrong_labels=None))[0]
    assert lead.startswith("A, trained on 1,000 samples with 40.0 % wrong labels, is right on")
    assert "B, trained on 1,000 samples with no label known to be wrong, is right on" in lead
    assert "C is right on" in lead


def test_different_test_sets_are_named_and_not_compared() -> None:
    other = run("b", scores=replace(scores(), samples=100))
    paragraphs = read(run("a"), other)
    assert "of 360 unseen samples" in paragraphs[0]
    assert "of 100 unseen samples" in paragraphs[0]
    assert paragraphs[1] == "The runs were not tested on the same samples, so their differences are not judged here."


def test_a_better_run() -> None:
    text = read(run("a"), run("b"), comparisons=(Comparison("b", "a", differences(0.2, -0.5, -0.1)),))[1]
    assert text == (
        "B is right more often than a, by 20.0 points (95 % interval 18.0 to 22.0). "
        "Its log loss is lower by 0.500 nats (0.480 to 0.520), and "
        "its calibration error is lower by 10.0 points (8.0 to 12.0)."
    )


def test_a_worse_run() -> None:
    text = read(run("a"), run("b"), comparisons=(Comparison("b", "a", differences(-0.2, 0.5, 0.1)),))[1]
    assert "B is right less often than a, by 20.0 points (95 % interval 18.0 to 22.0)." in text
    assert "Its log loss is higher by 0.500 nats" in text
    assert "its calibration error is higher by 10.0 points" in text


@pytest.mark.parametrize("value", [0.0, 0.019, -0.019])
def test_a_tie_is_no_difference_beyond_noise(value: float) -> None:
    text = read(run("a"), run("b"), comparisons=(Comparison("b", "a", differences(value, value, value)),))[1]
    assert text.startswith("In accuracy, b and a show no difference beyond noise")
    assert text.count("no difference beyond noise") == 3
    for claim in ("more often", "less often", "higher", "lower"):
        assert claim not in text


def test_what_remains_after_temperatures_is_compared_too() -> None:
    c = Comparison("b", "a", differences(0.2), differences(0.2, -0.3, 0.0))
    text = read(run("a"), run("b"), comparisons=(c,))[1]
    assert "With a temperature fitted to each, its log loss is lower by 0.300 nats" in text
    assert text.endswith("and its calibration error shows no difference beyond noise (−2.0 to 2.0).")


def test_a_temperature_that_helps() -> None:
    assert read(run(temperature=temperature(-0.17)))[1] == (
        "A temperature of 2.50, fitted on 180 clean samples, lowers the calibration error from 20.0 to 3.0 points; "
        "what remains is within noise for 360 samples."
    )


def test_a_temperature_that_harms_and_leaves_more_than_noise() -> None:
    text = read(run(temperature=temperature(0.1, after=0.3)))[1]
    assert "raises the calibration error from 20.0 to 30.0 points" in text
    assert text.endswith("what remains is more than noise explains (up to 5.0 points for 360 samples).")


def test_a_temperature_without_effect() -> None:
    text = read(run(temperature=temperature(-0.01, after=0.19)))[1]
    assert "leaves the calibration error at 19.0 points (20.0 before), no difference beyond noise" in text


@pytest.mark.parametrize(
    ("wrong", "samples", "text"),
    [
        (None, 180, "on 180 samples,"),
        (12, 180, "on 180 samples (12 with a wrong label),"),
        (0, 1, "on 1 clean sample,"),
    ],
)
def test_calibration_samples_are_called_clean_only_if_known(wrong: int | None, samples: int, text: str) -> None:
    assert text in read(run(temperature=temperature(-0.1, wrong=wrong, samples=samples)))[1]


@pytest.mark.parametrize(("error", "end"), [(0.04, "within noise for 360 samples."), (0.06, "for 360 samples).")])
def test_without_calibration_samples_the_error_is_still_judged(error: float, end: str) -> None:
    text = read(run(scores=scores(error=error)))[1]
    assert text.startswith("No temperature was fitted: there are no calibration samples. The calibration error is")
    assert text.endswith(end)


def test_with_several_runs_each_calibration_sentence_names_its_run() -> None:
    text = read(run("a", temperature=temperature(-0.1)), run("b"), comparisons=(Comparison("b", "a", differences(0)),))
    assert "For a, a temperature of 2.50" in text[2]
    assert "For b, no temperature was fitted" in text[2]


def test_beliefs_are_counted() -> None:
    assert read(run(beliefs=BeliefCounts(431, 646, 402, 20, 9, 5)))[2] == (
        "The beliefs moved 402 of the 431 wrong training labels (93.3 %) to the true class and 20 to another wrong "
        "one; 9 are still believed. They left 5 of the 646 right training labels."
    )


def test_beliefs_about_right_labels_alone() -> None:
    text = read(run(beliefs=BeliefCounts(0, 1000, 0, 0, 0, 7)))[2]
    assert text == "The beliefs left 7 of the 1,000 given labels, none of them known to be wrong."

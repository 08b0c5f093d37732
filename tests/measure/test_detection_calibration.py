"""Calibration of detections: targets, exact small cases, agreement with the classification estimate, and the null."""

import json
import math

import pytest
import torch
from oracles import detection as oracle

from trueline.contracts import facts_of
from trueline.measure._detection_calibration import detection_calibration_error, detection_targets
from trueline.measure._kernel_calibration_error import kernel_calibration_error


def _zeros(scores: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(scores), dtype=torch.int64)


def test_targets_by_hand_and_by_the_slow_twin(generator: torch.Generator) -> None:
    overlaps = torch.tensor([0.0, 0.49, 0.5, 0.75, 1.0], dtype=torch.float64)
    assert detection_targets(overlaps).tolist() == overlaps.tolist()
    assert detection_targets(overlaps, target="threshold").tolist() == [0, 0, 1, 1, 1]
    assert detection_targets(overlaps, target="threshold", threshold=0.75).tolist() == [0, 0, 0, 1, 1]
    assert detection_targets(overlaps, target="averaged").tolist() == pytest.approx([0, 0, 0.1, 0.6, 1])
    drawn = torch.rand(50, generator=generator, dtype=torch.float64)
    assert detection_targets(drawn, target="averaged").tolist() == pytest.approx(
        [oracle.averaged(value) for value in drawn.tolist()]
    )


def test_a_threshold_is_reached_by_the_same_number_in_single_precision() -> None:
    steps = torch.arange(10, 20).float() / 20
    assert detection_targets(steps, target="averaged").tolist() == pytest.approx([k / 10 for k in range(1, 11)])


@pytest.mark.parametrize("bandwidth", [0.001, 0.1, None])
def test_of_two_detections_each_gets_the_target_of_the_other(bandwidth: float | None) -> None:
    scores, targets = torch.tensor([0.9, 0.6]).double(), torch.tensor([0.8, 0.3]).double()
    found = detection_calibration_error(scores, targets, _zeros(scores), bandwidth=bandwidth)
    assert found.frequencies.tolist() == pytest.approx([0.3, 0.8])
    assert found.error == pytest.approx((0.6 + 0.2) / 2)


def test_targets_of_zero_and_one_give_the_classification_estimate(generator: torch.Generator) -> None:
    scores = torch.rand(100, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (100,), generator=generator)
    for norm in (1, 2):
        found = detection_calibration_error(
            scores, labels.double(), _zeros(scores), bandwidth=0.02, norm=norm, minimum_score=0
        )
        other = kernel_calibration_error(labels, probs=scores, event="positive", bandwidth=0.02, norm=norm)
        assert found.error == pytest.approx(other.error, rel=1e-12)
        assert torch.allclose(found.frequencies, other.frequencies.squeeze(1), atol=1e-12)


def test_targets_equal_to_the_scores_leave_the_gap_to_the_nearest_neighbour() -> None:
    scores = torch.tensor([0.50, 0.53, 0.60, 0.71, 0.75], dtype=torch.float64)
    found = detection_calibration_error(scores, scores, _zeros(scores), bandwidth=1e-5)
    gaps = [0.03, 0.03, 0.07, 0.04, 0.04]
    assert found.error == pytest.approx(sum(gaps) / 5, rel=1e-9)


def test_the_error_is_the_mean_over_categories_and_their_order_does_not_matter(generator: torch.Generator) -> None:
    scores = torch.rand(200, generator=generator, dtype=torch.float64)
    targets, categories = torch.rand(200, generator=generator, dtype=torch.float64), torch.arange(200) % 3
    found = detection_calibration_error(scores, targets, categories)
    for place, category in enumerate((0, 1, 2)):
        own = categories == category
        alone = detection_calibration_error(scores[own], targets[own], categories[own])
        assert found.errors[place].item() == pytest.approx(alone.error)
    assert found.error == pytest.approx(found.errors.mean().item())
    order = torch.randperm(200, generator=generator)
    shuffled = detection_calibration_error(scores[order], targets[order], categories[order])
    assert shuffled.error == pytest.approx(found.error, rel=1e-12)
    assert shuffled.null_mean == pytest.approx(found.null_mean, rel=1e-12)
    assert torch.equal(shuffled.frequencies.isnan(), scores[order] < 0.5)


def test_calibrated_detections_lie_within_the_null_and_others_beyond(generator: torch.Generator) -> None:
    scores = torch.rand(600, generator=generator, dtype=torch.float64) * 0.5 + 0.5
    honest = (torch.rand(600, generator=generator) < scores).double()
    found = detection_calibration_error(scores, honest, _zeros(scores))
    assert 0.01 < found.null_mean < 0.06
    assert found.error < 1.5 * found.null_limit
    over = detection_calibration_error(scores, 0.7 * honest, _zeros(scores))
    assert over.error > over.null_limit


def test_a_category_with_one_detection_is_named_and_left_out() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.1]).double()
    found = detection_calibration_error(scores, scores, torch.tensor([0, 0, 4, 0]))
    assert found.alone == (4,)
    assert found.categories.tolist() == [0]
    assert found.frequencies.isnan().tolist() == [False, False, True, True]
    assert "left out, with one detection each: 4" in str(found)


def test_the_record_draws_and_writes_what_it_found(generator: torch.Generator) -> None:
    scores = torch.rand(30, generator=generator)
    before = torch.get_rng_state()
    found = detection_calibration_error(scores, scores, _zeros(scores), minimum_score=0)
    assert torch.equal(before, torch.get_rng_state())
    assert len(found.plot().to_dict()["layer"]) == 2
    json.dumps(found.to_dict(), allow_nan=False)
    assert facts_of(detection_calibration_error).references[0].arxiv == "2312.06645"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": torch.tensor([1.5, 0.5])}, "scores must have shape .* and lie in"),
        ({"targets": torch.tensor([math.nan, 0.5])}, "targets must have shape .* and lie in"),
        ({"minimum_score": 2.0}, "minimum_score must lie in"),
        ({"minimum_score": 1.0}, "expected a category with two detections"),
        ({"bandwidth": -1.0}, "bandwidth must be a finite number above zero"),
        ({"draws": 0}, "draws must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    given = {"scores": torch.tensor([0.9, 0.6]), "targets": torch.tensor([1.0, 0.0])} | change
    with pytest.raises(ValueError, match=message):
        detection_calibration_error(categories=torch.tensor([0, 0]), **given)


def test_the_limit_of_the_null_is_of_the_mean_over_categories(generator: torch.Generator) -> None:
    scores = 0.5 + 0.5 * torch.rand(40, generator=generator)
    found = detection_calibration_error(scores, scores, torch.arange(40) % 2, draws=1)
    assert found.null_limit == pytest.approx(found.null_mean)
    assert found.null_limit == pytest.approx(found.null_means.mean().item())
    assert found.null_means[0] != found.null_means[1]

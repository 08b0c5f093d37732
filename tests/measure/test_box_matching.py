"""Matching of boxes: exact overlaps, one detection per true box, the slow twin, and order."""

import pytest
import torch
from oracles import detection as oracle

from trueline.measure._box_matching import match_detections

UNIT = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
ZERO = torch.zeros(1, dtype=torch.int64)


def _one(box: list[float], minimum: float = 0.0, category: int = 0, image: int = 0) -> float:
    return match_detections(
        torch.tensor([box], dtype=torch.float64),
        torch.tensor([0.9]),
        ZERO + category,
        ZERO + image,
        true_boxes=UNIT,
        true_categories=ZERO,
        true_images=ZERO,
        minimum=minimum,
    ).item()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 1, 1], 1.0),
        ([0, 0, 1, 0.5], 0.5),
        ([0.5, 0, 1.5, 1], 1 / 3),
        ([1, 0, 2, 1], 0.0),  # they touch only
        ([5, 5, 6, 6], 0.0),
        ([0.5, 0.5, 0.5, 0.5], 0.0),  # no area
    ],
)
def test_the_overlap_is_intersection_over_union(box: list[float], expected: float) -> None:
    assert _one(box) == pytest.approx(expected)


def test_an_overlap_below_the_minimum_is_none_and_one_at_it_is() -> None:
    assert _one([0, 0, 1, 0.5], minimum=0.5) == 0.5
    assert _one([0, 0, 1, 0.4375], minimum=0.5) == 0


def test_category_and_image_must_agree_and_category_zero_is_one() -> None:
    assert _one([0, 0, 1, 1], category=1) == _one([0, 0, 1, 1], image=1) == 0
    assert _one([0, 0, 1, 1]) == 1


def test_the_surer_detection_finds_the_box_and_the_second_gets_nothing() -> None:
    boxes = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 0.75], [0, 0, 1, 0.9]])
    same = torch.zeros(3, dtype=torch.int64)
    truth = {"true_boxes": UNIT, "true_categories": ZERO, "true_images": ZERO}
    found = match_detections(boxes, torch.tensor([0.6, 0.9, 0.7]), same, same, **truth)
    assert found.tolist() == [0, 0.75, 0]


def test_more_detections_than_true_boxes_are_all_matched_in_turn() -> None:
    far = torch.tensor([[9.0, 9, 10, 10]] * 4)  # sure detections of nothing come first
    boxes, scores = torch.cat([far, UNIT]), torch.tensor([0.9, 0.9, 0.9, 0.9, 0.5])
    same = torch.zeros(5, dtype=torch.int64)
    truth = {"true_boxes": UNIT, "true_categories": ZERO, "true_images": ZERO}
    assert match_detections(boxes, scores, same, same, **truth).tolist() == [0, 0, 0, 0, 1]


def _boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    corner = 3 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return torch.cat([corner, corner + 0.5 + 2 * torch.rand(count, 2, generator=generator, dtype=torch.float64)], dim=1)


@pytest.mark.parametrize("minimum", [0.0, 0.5])
def test_the_slow_twin_agrees_and_order_does_not_matter(generator: torch.Generator, minimum: float) -> None:
    boxes, true_boxes = _boxes(60, generator), _boxes(25, generator)
    scores = torch.rand(60, generator=generator)
    (categories, true_categories), (images, true_images) = (
        [torch.randint(0, 2, (n,), generator=generator) for n in (60, 25)] for _ in range(2)
    )
    truth = {"true_boxes": true_boxes, "true_categories": true_categories, "true_images": true_images}
    found = match_detections(boxes, scores, categories, images, **truth, minimum=minimum)
    rows = list(zip(boxes.tolist(), scores.tolist(), categories.tolist(), images.tolist(), strict=True))
    truths = list(zip(true_boxes.tolist(), true_categories.tolist(), true_images.tolist(), strict=True))
    assert found.tolist() == pytest.approx(oracle.match(rows, truths, minimum))
    assert 0 < (found > 0).sum() <= 25
    tied = (3 * scores).round()
    order = torch.randperm(60, generator=generator)
    first, second = (
        match_detections(boxes[o], tied[o], categories[o], images[o], **truth, minimum=minimum)
        for o in (torch.arange(60), order)
    )
    assert torch.equal(first[order], second)


def test_no_detections_or_no_true_boxes_match_nothing() -> None:
    none, no_numbers = torch.empty(0, 4), torch.empty(0, dtype=torch.int64)
    truth = {"true_boxes": none, "true_categories": no_numbers, "true_images": no_numbers}
    assert match_detections(UNIT, torch.tensor([0.5]), ZERO, ZERO, **truth).tolist() == [0]
    truth = {"true_boxes": UNIT, "true_categories": ZERO, "true_images": ZERO}
    assert match_detections(none, torch.empty(0), no_numbers, no_numbers, **truth).tolist() == []


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="right >= left and bottom >= top"):
        _one([1, 0, 0, 1])
    with pytest.raises(ValueError, match="right >= left"):
        _one([0, 0, float("nan"), 1])
    with pytest.raises(ValueError, match="minimum must lie in"):
        _one([0, 0, 1, 1], minimum=50)

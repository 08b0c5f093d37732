"""The training penalty: agreement with the measure, gradients, clamps and limits."""

import pytest
import torch

from trueline.measure._detection_calibration import detection_calibration_error, detection_targets
from trueline.measure._detection_penalty import detection_calibration_penalty
from trueline.measure._kernel_calibration_error import kernel_calibration_error


def _draw(generator: torch.Generator, anchors: int = 40) -> tuple[torch.Tensor, ...]:
    probs = torch.randn(anchors, 3, generator=generator, dtype=torch.float64).softmax(dim=1)
    labels = torch.randint(0, 3, (anchors,), generator=generator)
    return probs, labels, torch.rand(anchors, generator=generator, dtype=torch.float64), torch.arange(anchors) % 2


def test_each_part_is_the_measure_of_the_image(generator: torch.Generator) -> None:
    probs, labels, overlaps, images = _draw(generator)
    own = probs.gather(1, labels[:, None]).squeeze(1)
    none = {"canonical": 0.0, "identity": 0.0, "averaged": 0.0}
    for name, target in (("identity", "identity"), ("averaged", "averaged")):
        found = detection_calibration_penalty(probs, labels, overlaps, images, **(none | {name: 2.0}))
        for image in (0, 1):
            rows = images == image
            targets = detection_targets(overlaps[rows], target=target)
            expected = detection_calibration_error(
                own[rows], targets, labels[rows] * 0, minimum_score=0, bandwidth=0.01
            ).error
            assert found[image].item() == pytest.approx(2 * expected, rel=1e-9)
    found = detection_calibration_penalty(probs, labels, overlaps, images, **(none | {"canonical": 1.0}))
    rows = images == 1
    expected = kernel_calibration_error(labels[rows], probs=probs[rows], bandwidth=0.01).error
    assert found[1].item() == pytest.approx(expected, rel=1e-9)


def test_the_gradient_is_that_of_the_formula(generator: torch.Generator) -> None:
    probs, labels, overlaps, images = _draw(generator, 6)

    def penalty(values: torch.Tensor) -> torch.Tensor:
        return detection_calibration_penalty(
            values, labels, overlaps, images, canonical=1.0, norm=2, bandwidth=0.1
        ).sum()

    assert torch.autograd.gradcheck(penalty, probs.requires_grad_())


def test_following_the_gradient_lowers_the_error(generator: torch.Generator) -> None:
    logits = 3 * torch.randn(60, 2, generator=generator, dtype=torch.float64)
    overlaps, labels = torch.full((60,), 0.3, dtype=torch.float64), torch.zeros(60, dtype=torch.int64)
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    values = []
    for _ in range(30):
        probs = (logits + shift).softmax(dim=1)
        value = detection_calibration_penalty(probs, labels, overlaps, labels, averaged=0.0, norm=2).mean()
        values.append(value.item())
        (gradient,) = torch.autograd.grad(value, shift)
        shift = (shift - 5 * gradient).detach().requires_grad_()
    assert values[-1] < 0.9 * values[0]


def test_saturated_probabilities_have_finite_gradients() -> None:
    probs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1])
    penalty = detection_calibration_penalty(probs, labels, torch.rand(3), labels * 0, canonical=1.0)
    penalty.sum().backward()
    assert penalty.isfinite().all()
    assert probs.grad.isfinite().all()


def test_an_image_with_one_anchor_costs_nothing_and_none_give_nothing() -> None:
    probs = torch.tensor([[0.9, 0.1]], requires_grad=True)
    zero = torch.tensor([0])
    penalty = detection_calibration_penalty(probs, zero, torch.tensor([0.5]), zero)
    assert penalty.tolist() == [0]
    penalty.sum().backward()
    assert probs.grad.tolist() == [[0, 0]]
    assert len(detection_calibration_penalty(probs[:0], zero[:0], torch.empty(0), zero[:0])) == 0


def test_only_the_surest_anchors_count(generator: torch.Generator) -> None:
    probs, labels, overlaps, images = _draw(generator)
    labels, images = labels * 0, images * 0
    top = probs[:, 0].topk(10).indices
    found = detection_calibration_penalty(probs, labels, overlaps, images, most=10)
    alone = detection_calibration_penalty(probs[top], labels[top], overlaps[top], images[top])
    assert found.item() == pytest.approx(alone.item())


def test_what_cannot_be_is_refused(generator: torch.Generator) -> None:
    probs, labels, overlaps, images = _draw(generator, 4)
    with pytest.raises(ValueError, match="pass probabilities, not logits"):
        detection_calibration_penalty(3 * probs, labels, overlaps, images)
    with pytest.raises(ValueError, match="labels must lie in"):
        detection_calibration_penalty(probs, labels + 3, overlaps, images)
    with pytest.raises(ValueError, match="coefficients must be finite and at least zero"):
        detection_calibration_penalty(probs, labels, overlaps, images, identity=-1.0)
    with pytest.raises(ValueError, match="most must be at least 2"):
        detection_calibration_penalty(probs, labels, overlaps, images, most=1)
    with pytest.raises(ValueError, match="overlaps must have shape"):
        detection_calibration_penalty(probs, labels, 5 * overlaps + 1, images)

"""The seen-unseen accuracy curve: closed forms, invariances, ties, the slow twin, intervals."""

import json

import pytest
import torch
from oracles import zero_shot as oracle

from trueline.contracts import facts_of
from trueline.measure import ausuc
from trueline.numerics import wilson_interval

SEEN = torch.tensor([True, True, False, True, False])


def _draw(generator: torch.Generator, samples: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(5, (samples,), generator=generator)
    logits = torch.randn(samples, 5, generator=generator, dtype=torch.float64) + 1.5 * SEEN
    return labels, logits + 2 * torch.nn.functional.one_hot(labels, 5)


def test_the_slow_twin_gives_the_same_area_and_curve(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    logits = (2 * logits).round() / 2  # with ties within and across kinds
    weight = torch.rand(60, generator=generator, dtype=torch.float64)
    for w in (None, weight):
        weights = None if w is None else w.tolist()
        found = ausuc(labels, logits=logits, seen=SEEN, weight=w)
        columns = logits.tolist(), labels.tolist(), SEEN.tolist()
        assert found.area.value == pytest.approx(oracle.area(*columns, weights))
        for gamma in (-30.3, -0.7, 0.2, 1.1, 30.3):
            assert found.at(gamma) == pytest.approx(oracle.accuracies(*columns, gamma, weights))


def test_a_constant_on_all_seen_scores_changes_nothing_but_gamma(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    found = ausuc(labels, logits=logits, seen=SEEN)
    moved = ausuc(labels, logits=logits + 3.0 * SEEN, seen=SEEN)
    assert moved.area == found.area
    assert torch.allclose(moved.gamma, found.gamma + 3)
    assert moved.harmonic_mean(4.1) == found.harmonic_mean(1.1)


def test_no_gamma_gives_a_rectangle_larger_than_the_area(generator: torch.Generator) -> None:
    found = ausuc(*_draw(generator)[:1], logits=_draw(generator)[1], seen=SEEN)
    assert found.area.value >= (found.seen_accuracy * found.unseen_accuracy).max() - 1e-12
    assert (found.gamma.diff() > 0).all()
    assert (found.seen_accuracy.diff() <= 0).all()
    assert (found.unseen_accuracy.diff() >= 0).all()
    assert found.unseen_accuracy[0] == 0
    assert found.seen_accuracy[-1].item() == pytest.approx(0, abs=1e-12)


def test_kinds_that_never_meet_make_a_rectangle() -> None:
    """Every unseen threshold is below every seen one: the area is the product of the accuracies at the ends."""
    logits = torch.tensor([[9.0, 0, 0, 0], [9, 8, 0, 0], [0, 0, 9, 0], [0, 0, 9, 8], [0, 0, 9, 0]])
    seen = torch.tensor([True, True, False, False])
    found = ausuc(torch.tensor([0, 1, 2, 3, 2]), logits=logits, seen=seen)
    assert found.area.value == found.seen_accuracy[0] * found.unseen_accuracy[-1] == 0.25
    assert found.threshold.tolist() == [9, -torch.inf, -9, torch.inf, -9]


def test_equal_scores_of_one_seen_and_one_unseen_class_give_one_half() -> None:
    found = ausuc(torch.tensor([0, 1, 0, 1]), logits=torch.zeros(4, 2), seen=torch.tensor([True, False]))
    assert found.area.value == 0.5
    assert found.at(0.0) == (0.5, 0.5)
    assert found.at(-0.1) == (1.0, 0.0)
    assert found.at(0.1) == (0.0, 1.0)


def test_classes_count_alike_however_many_samples_they_have() -> None:
    logits = torch.tensor([[1.0, 0, -9]] * 9 + [[1.0, 0, -9], [0, 0, 5.0]])
    labels = torch.tensor([0] * 9 + [1, 2])
    seen = torch.tensor([True, True, False])
    assert ausuc(labels, logits=logits, seen=seen).seen_accuracy[0] == 0.5  # class 0 right, class 1 wrong
    few = torch.tensor([0, 9, 10])
    assert ausuc(labels[few], logits=logits[few], seen=seen).area.value == 0.5


def test_logits_and_probabilities_agree(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    first = ausuc(labels, logits=logits, seen=SEEN)
    second = ausuc(labels, probs=logits.softmax(dim=1), seen=SEEN)
    moved = ausuc(labels, logits=logits + torch.randn(60, 1, generator=generator, dtype=torch.float64), seen=SEEN)
    for other in (second, moved):
        assert other.area.value == pytest.approx(first.area.value)
        assert torch.allclose(other.threshold, first.threshold)


def test_each_row_may_have_seen_classes_of_its_own(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    found = ausuc(labels, logits=logits, seen=SEEN.expand(60, 5))
    assert found.area == ausuc(labels, logits=logits, seen=SEEN).area
    swapped = SEEN.repeat(60, 1)
    swapped[30:] = ~SEEN
    both = ausuc(labels, logits=logits, seen=swapped)
    first = ausuc(labels[:30], logits=logits[:30], seen=SEEN)
    assert torch.equal(both.threshold[:30], first.threshold)


def test_the_interval_covers_the_area_of_the_population(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 20000)
    truth = ausuc(labels, logits=logits, seen=SEEN).area
    assert truth.high - truth.low < 0.02
    covered = 0
    for start in range(0, 20000, 200):
        part = ausuc(labels[start : start + 200], logits=logits[start : start + 200], seen=SEEN).area
        covered += part.low <= truth.value <= part.high
    assert 88 <= covered <= 100  # of 100, at 95 %


def test_perfect_scores_and_single_samples() -> None:
    one = ausuc(torch.tensor([0, 1]), logits=torch.tensor([[5.0, 0], [0, 5]]), seen=torch.tensor([True, False]))
    assert one.area.value == 1
    assert one.area.low < 0.5
    assert one.at(0.0) == (1.0, 1.0)
    hopeless = ausuc(
        torch.tensor([1, 2]), logits=torch.tensor([[1.0, 0, 0], [1, 0, 0]]), seen=torch.tensor([True, True, False])
    )
    assert hopeless.area.value == 0  # the only seen sample is never right
    assert hopeless.harmonic_mean(0.0) == 0


def test_bad_input_is_refused(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    with pytest.raises(ValueError, match="at least one seen and one unseen class"):
        ausuc(labels, logits=logits, seen=torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"shape \(5,\) or \(60, 5\)"):
        ausuc(labels, logits=logits, seen=SEEN[:4])
    with pytest.raises(ValueError, match="samples of unseen classes with positive weight, got none"):
        ausuc(torch.zeros(60, dtype=torch.int64), logits=logits, seen=SEEN)
    with pytest.raises(ValueError, match="samples of seen classes with positive weight, got none"):
        ausuc(labels, logits=logits, seen=SEEN, weight=(~SEEN[labels]).double())
    with pytest.raises(TypeError):
        ausuc(labels, logits=logits, seen=SEEN.long())


def test_the_record_is_plain_said_and_drawn(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    found = ausuc(labels, logits=logits, seen=SEEN)
    assert set(found.units) == set(json.loads(json.dumps(found.to_dict())))
    assert f"{found.area.value:.3f}" in str(found)
    assert "layer" in found.plot().to_dict()
    assert facts_of(ausuc).references[0].year == 2016


def test_one_sample_a_class_has_the_largest_variance_there_can_be() -> None:
    """A quarter for each sample: shares of 1/2, 1/2 and 1 make 3/8, the area of 1/2 has 1/4, so 2/3 of a trial."""
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [3.0, 0.0, 0.0]])
    found = ausuc(torch.arange(3), logits=logits, seen=torch.tensor([True, True, False]))
    assert found.area.value == 0.5
    low, high = wilson_interval(torch.tensor(0.5).double(), torch.tensor(2 / 3).double())
    assert (found.area.low, found.area.high) == pytest.approx((low.item(), high.item()))

"""The h loss: its exact identities, the slow twin, weights, ties and refusals."""

import pytest
import torch
from oracles import binning_maps as oracle

from trueline.calibrate import h_calibration_loss
from trueline.contracts import facts_of


def _draw(generator: torch.Generator, samples: int = 40, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return torch.randint(0, classes, (samples,), generator=generator), logits


def _one_hot(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, 3).double()


def test_a_window_of_one_and_one_bin_are_the_mean_absolute_residual(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    expected = (logits.softmax(1) - _one_hot(labels)).abs().mean().item()
    got = h_calibration_loss(labels, logits=logits, window=1, bins=1, tolerance=0)
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_a_window_over_everything_sees_nothing(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    assert h_calibration_loss(labels, logits=logits, window=2 * 120).item() == pytest.approx(0, abs=1e-15)


def test_it_is_zero_where_every_window_is_balanced_and_only_there() -> None:
    probs = torch.tensor([[0.75, 0.25]] * 8).double()
    labels = torch.tensor([0, 0, 0, 1] * 2)
    assert h_calibration_loss(labels, probs=probs, window=8).item() == 0
    assert h_calibration_loss(1 - labels, probs=probs, window=8).item() == pytest.approx(0.5)


@pytest.mark.parametrize(("window", "bins", "tolerance"), [(1, 3, 0.0), (5, 15, 0.0), (21, 4, 0.01), (201, 1, 0.0)])
def test_the_slow_twin_agrees(generator: torch.Generator, window: int, bins: int, tolerance: float) -> None:
    labels, logits = _draw(generator)
    probs = logits.softmax(1)
    expected = oracle.h_loss(probs.tolist(), labels.tolist(), window, bins, tolerance)
    got = h_calibration_loss(labels, probs=probs, window=window, bins=bins, tolerance=tolerance)
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_order_and_repetition_do_not_matter(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    logits = logits.round(decimals=0)  # many ties
    loss = h_calibration_loss(labels, logits=logits, window=11)
    order = torch.randperm(40, generator=generator)
    assert h_calibration_loss(labels[order], logits=logits[order], window=11).item() == pytest.approx(loss.item())
    times = torch.arange(40) % 3
    repeated = h_calibration_loss(
        labels.repeat_interleave(times), logits=logits.repeat_interleave(times, dim=0), window=11
    )
    weighted = h_calibration_loss(labels, logits=logits, weight=times.double(), window=11)
    assert weighted.item() == pytest.approx(repeated.item())


def test_ties_but_for_rounding_are_ties() -> None:
    row = torch.tensor([0.3, -1.1, 0.7], dtype=torch.float64)
    logits = torch.stack([row.roll(shift) for shift in range(3)] * 4)
    labels = torch.tensor([0, 1, 2, 2] * 3)
    moved = logits + torch.linspace(-50, 50, 12, dtype=torch.float64)[:, None]
    loss = h_calibration_loss(labels, logits=logits, window=7)
    assert h_calibration_loss(labels, logits=moved, window=7).item() == pytest.approx(loss.item(), abs=1e-12)


def test_leaving_classes_out_averages_the_losses_without_each(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    parts = [h_calibration_loss(labels[labels != k], logits=logits[labels != k], window=9) for k in range(3)]
    got = h_calibration_loss(labels, logits=logits, window=9, leave_one_class_out=True)
    assert got.item() == pytest.approx(torch.stack(parts).mean().item())
    alone = torch.zeros_like(labels)  # no sample lacks label 0
    got = h_calibration_loss(alone, logits=logits, window=9, leave_one_class_out=True)
    assert got.item() == pytest.approx(h_calibration_loss(alone, logits=logits, window=9).item())


def test_its_gradient_is_that_of_small_steps(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 12)
    logits.requires_grad_()
    torch.autograd.gradcheck(lambda z: h_calibration_loss(labels, logits=z, window=5, bins=3), [logits], eps=1e-7)


def test_impossible_options_are_refused(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    for options in ({"window": 0}, {"bins": 0}, {"tolerance": -1.0}, {"tolerance": float("nan")}):
        with pytest.raises(ValueError, match="must be at least"):
            h_calibration_loss(labels, logits=logits, **options)
    with pytest.raises(ValueError, match="weight"):
        h_calibration_loss(labels, logits=logits, weight=torch.zeros(40))


def test_the_facts_name_the_paper() -> None:
    assert facts_of(h_calibration_loss).references[0].arxiv == "2506.17968"

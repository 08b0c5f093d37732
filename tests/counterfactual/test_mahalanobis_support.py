"""Mahalanobis support: the ellipsoid, leave-one-out without refitting, classes of too few examples."""

import math

import pytest
import torch
from oracles import counterfactual as slow

from trueline.counterfactual._mahalanobis_support import MahalanobisSupport


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("features", [2, 12])
def test_distances_are_those_of_a_refitted_ellipsoid(features: int) -> None:
    """Also with fewer examples than features, where the covariance is singular."""
    reference, labels = (
        drawn(24, features) * torch.linspace(0.3, 3, features, dtype=torch.float64),
        torch.arange(24) % 3,
    )
    support = MahalanobisSupport(reference, labels)
    z, classes = drawn(9, features, seed=1), torch.arange(9) % 3
    plain = [slow.mahalanobis(p, reference, labels, c) for p, c in zip(z, classes.tolist(), strict=True)]
    torch.testing.assert_close(support.radius(z, classes), torch.tensor(plain, dtype=torch.float64), rtol=1e-8, atol=0)
    exclude = torch.tensor([0, 4, 7, -1, 1, 0, 3, 23, -1])  # some of another class than the point asks for
    apart = [
        slow.mahalanobis(p, reference, labels, c, i)
        for p, c, i in zip(z, classes.tolist(), exclude.tolist(), strict=True)
    ]
    found = support.radius(z, classes, exclude=exclude)
    torch.testing.assert_close(found, torch.tensor(apart, dtype=torch.float64), rtol=1e-8, atol=0)
    for c in range(3):
        rows = (labels == c).nonzero().flatten().tolist()
        own = torch.tensor([slow.mahalanobis(reference[i], reference, labels, c, i) for i in rows]).double()
        assert support.thresholds[c].item() == pytest.approx(own.median().item() if len(own) % 2 else own.quantile(0.5))


def test_distances_do_not_depend_on_the_axes_or_units() -> None:
    reference, labels = drawn(60, 3), torch.arange(60) % 2
    turn = torch.linalg.qr(drawn(3, 3, seed=5)).Q
    z, classes = drawn(8, 3, seed=1), torch.arange(8) % 2
    first = MahalanobisSupport(reference, labels).radius(z, classes)
    second = MahalanobisSupport(100 * reference @ turn, labels).radius(100 * z @ turn, classes)
    torch.testing.assert_close(second, first, rtol=1e-9, atol=0)


def test_left_out_examples_are_about_as_far_as_new_ones_and_fitted_ones_are_not() -> None:
    reference, fresh = drawn(60, 40), drawn(300, 40, seed=1)
    labels = torch.zeros(60, dtype=torch.int64)
    support = MahalanobisSupport(reference, labels)
    inside = support.radius(reference, labels)
    assert (inside < support.thresholds).all()
    share = support.supported(fresh, torch.zeros(300, dtype=torch.int64)).double().mean()
    assert 0.3 < share < 0.7


def test_the_pull_leads_to_the_mean_of_the_others() -> None:
    reference, labels = drawn(10, 3), torch.arange(10) % 2
    support = MahalanobisSupport(reference, labels)
    z, classes = drawn(2, 3, seed=1), torch.tensor([0, 0])
    pull = support.pull(z, classes, exclude=torch.tensor([-1, 4]))
    torch.testing.assert_close(z[0] + pull[0], reference[::2].mean(dim=0))
    torch.testing.assert_close(z[1] + pull[1], reference[[0, 2, 6, 8]].mean(dim=0))


def test_classes_of_too_few_or_equal_examples_support_nothing() -> None:
    reference = torch.cat([drawn(6, 2), torch.ones(4, 2, dtype=torch.float64), drawn(2, 2, seed=2)])
    support = MahalanobisSupport(reference, torch.tensor([0] * 6 + [1] * 4 + [2] * 2))
    classes = torch.tensor([0, 1, 2, 3])
    z = torch.zeros(4, 2, dtype=torch.float64)
    assert support.radius(z, classes).isfinite().tolist() == [True, False, False, False]
    assert support.threshold(classes)[1:].tolist() == [-math.inf] * 3
    assert not support.pull(z, classes)[1:].any()


def test_what_does_not_fit_is_refused() -> None:
    zeros = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="three reference examples that differ"):
        MahalanobisSupport(torch.rand(2, 2), zeros)
    with pytest.raises(ValueError, match="quantile must lie in"):
        MahalanobisSupport(torch.rand(2, 2), zeros, quantile=0.0)

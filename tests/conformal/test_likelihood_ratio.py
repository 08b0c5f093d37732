"""Likelihood ratios from a domain classifier: scikit-learn, the closed form between Gaussians, folds, refusals."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from trueline.conformal import DomainClassifier, likelihood_ratio
from trueline.contracts import load


def _draw(generator: torch.Generator, n: int = 200, m: int = 120, d: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return source, torch.randn(m, d, generator=generator, dtype=torch.float64) + 0.4


@pytest.mark.parametrize("penalty", [0.01, 1.0, 50.0])
def test_scikit_learn_finds_the_same_weights(generator: torch.Generator, penalty: float) -> None:
    source, target = _draw(generator)
    own = DomainClassifier(penalty=penalty).fit(source, target)
    pooled = torch.cat([source, target]).numpy()
    scaled = (pooled - pooled.mean(0)) / pooled.std(0)
    peer = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1000).fit(scaled, np.repeat([0, 1], [200, 120]))
    assert own.weights_[:-1].tolist() == pytest.approx(peer.coef_[0].tolist(), abs=1e-5)
    odds = np.exp(peer.decision_function(scaled)) * 200 / 120
    assert own.ratios(torch.cat([source, target])).tolist() == pytest.approx(odds.tolist(), rel=1e-4)


def test_between_gaussians_the_ratio_is_found() -> None:
    """Quantiles of N(0, 1) and N(1/2, 1): the ratio is exp(x/2 - 1/8)."""
    x = torch.special.ndtri((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)[:, None]
    ratio = DomainClassifier(penalty=1e-6).fit(x, x + 0.5).ratios(torch.tensor([[-1.0], [0.0], [2.0]]))
    assert ratio.tolist() == pytest.approx([np.exp(-0.625), np.exp(-0.125), np.exp(0.875)], rel=0.01)


def test_equal_samples_have_ratio_one_and_a_unit_changes_nothing(generator: torch.Generator) -> None:
    source, target = _draw(generator)
    assert DomainClassifier().fit(source, source).ratios(target).tolist() == pytest.approx([1.0] * 120)
    plain = DomainClassifier().fit(source, target).ratios(target)
    other = DomainClassifier().fit(source * 1000 + 3, target * 1000 + 3).ratios(target * 1000 + 3)
    assert torch.allclose(plain, other, rtol=1e-8)


def test_separable_samples_and_constant_features_stay_finite() -> None:
    source, target = torch.tensor([[0.0, 7.0], [1.0, 7.0]]), torch.tensor([[10.0, 7.0], [11.0, 7.0]])
    ratio = DomainClassifier().fit(source, target).ratios(torch.cat([source, target]))
    assert ratio.isfinite().all()
    assert ratio[0] < 0.5 < 2 < ratio[3]


def test_each_ratio_comes_from_the_other_folds(generator: torch.Generator) -> None:
    source, target = _draw(generator, n=30, m=30, d=3)
    ratios = likelihood_ratio(source, target, folds=30)
    for i in (0, 17):
        # Which target sample is left out with it is chance; one of them must explain the ratio.
        rest = torch.arange(30) != i
        candidates = [
            DomainClassifier().fit(source[rest], target[torch.arange(30) != j]).ratios(source[[i]]).item()
            for j in range(30)
        ]
        assert min(abs(c - ratios.source[i].item()) for c in candidates) < 1e-9
    again = likelihood_ratio(source, target, folds=30)
    assert torch.equal(ratios.target, again.target)


def test_cross_fitted_ratios_are_less_extreme_for_many_features(generator: torch.Generator) -> None:
    source, target = _draw(generator, n=60, m=60, d=40)
    crossed, own = likelihood_ratio(source, target), DomainClassifier().fit(source, target)
    assert crossed.source.log().mean() > own.ratios(source).log().mean()
    assert crossed.target.log().mean() < own.ratios(target).log().mean()


def test_it_is_saved_and_refuses_what_does_not_fit(generator: torch.Generator, tmp_path) -> None:
    source, target = _draw(generator)
    classifier = DomainClassifier(penalty=2.0)
    with pytest.raises(RuntimeError, match="is not fitted"):
        classifier.ratios(source)
    classifier.fit(source, target)
    read = load(classifier.save(tmp_path / "ratio"), known=[DomainClassifier])
    assert torch.equal(read.ratios(source), classifier.ratios(source))
    with pytest.raises(ValueError, match=r"features must have shape \(N, 5\)"):
        classifier.ratios(source[:, 1:])
    with pytest.raises(ValueError, match="penalty must be above 0"):
        DomainClassifier(penalty=0.0)
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 120\], got 1"):
        likelihood_ratio(source, target, folds=1)
    with pytest.raises(ValueError, match="target must be finite"):
        likelihood_ratio(source, target * torch.nan)

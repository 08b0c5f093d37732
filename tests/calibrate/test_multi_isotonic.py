"""Pooled isotonic recalibration: the order of the classes, pooling against scikit-learn, hard cases, real data."""

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression

from trueline.calibrate import IsotonicCalibration, MultiIsotonicCalibration
from trueline.contracts import check_calibrator, facts_of
from trueline.measure import accuracy


def _draw(generator: torch.Generator, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    logits = scale * torch.randn(200, 5, generator=generator, dtype=torch.float64)
    return torch.multinomial((logits / 2).softmax(1), 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(MultiIsotonicCalibration)
    check_calibrator(lambda: MultiIsotonicCalibration(laplace=0))


@pytest.mark.parametrize("laplace", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 40.0])
def test_the_order_of_the_classes_stays(generator: torch.Generator, laplace: float, scale: float) -> None:
    labels, logits = _draw(generator, scale)
    fitted = MultiIsotonicCalibration(laplace=laplace).fit(labels, logits=logits)
    new = scale * torch.randn(500, 5, generator=generator, dtype=torch.float64)
    mapped = fitted.transform(logits=new)
    assert torch.equal(new.argsort(1), mapped.argsort(1))
    ordered = mapped.gather(1, new.argsort(1))
    assert (ordered.diff(dim=1) > 0).all()


def test_it_is_scikit_learns_regression_of_all_pairs(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    odds = torch.stack(
        [logits[:, k] - logits[:, [j for j in range(5) if j != k]].logsumexp(1) for k in range(5)], dim=1
    )
    hits = torch.nn.functional.one_hot(labels, 5)
    peer = IsotonicRegression(out_of_bounds="clip")
    level = peer.fit_transform(odds.float().double().flatten().numpy(), hits.flatten().numpy()).reshape(odds.shape)
    expected = torch.from_numpy(level) + 1e-9 * logits.softmax(1)
    expected = expected / expected.sum(1, keepdim=True)
    got = MultiIsotonicCalibration(laplace=0).fit(labels, logits=logits).predict_proba(logits=logits)
    assert torch.allclose(got, expected, atol=2e-5)  # the factor p^1e-6 moves results by about that
    # A zero of the fit falls back on the published slope 1e-9.
    assert got.min() > 0


def test_two_classes_pool_both_sides() -> None:
    # By symmetry the pooled fit of two classes maps p and 1 - p to complements.
    odds = torch.tensor([-2.0, -1.0, 1.0, 3.0]).double()
    labels = torch.tensor([0, 1, 1, 1])
    fitted = MultiIsotonicCalibration(laplace=0).fit(labels, logits=odds)
    forth = fitted.predict_proba(logits=odds)
    back = fitted.predict_proba(logits=-odds)
    assert torch.allclose(forth, back.flip(1), atol=1e-12)
    alone = IsotonicCalibration(laplace=0).fit(labels.repeat(5), logits=odds.repeat(5))
    assert not torch.allclose(forth, alone.predict_proba(logits=odds))


def test_gradients_are_finite_where_the_fit_is_zero(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    asked = logits.clone().requires_grad_()
    fitted = MultiIsotonicCalibration(laplace=0).fit(labels, logits=logits)
    (slope,) = torch.autograd.grad(fitted.transform(logits=asked)[:, 0].sum(), [asked])
    assert slope.isfinite().all()


def test_an_impossible_laplace_is_refused() -> None:
    with pytest.raises(ValueError, match="laplace must be finite"):
        MultiIsotonicCalibration(laplace=-1)


def test_the_facts_name_the_paper() -> None:
    assert facts_of(MultiIsotonicCalibration).references[0].arxiv == "2003.07329"
    assert MultiIsotonicCalibration.preserves_ranking
    assert MultiIsotonicCalibration().n_parameters(10) is None


def test_real_predictions_keep_their_accuracy(shared_data) -> None:
    with np.load(shared_data / "predictions" / "cifar100-densenet-probs.npz") as file:
        labels, probs = torch.tensor(file["labels"][:3000]), torch.tensor(file["probs"][:3000]).double()
    got = MultiIsotonicCalibration().fit(labels[:1500], probs=probs[:1500]).predict_proba(probs=probs[1500:])
    assert torch.equal(got.argmax(1), probs[1500:].argmax(1))
    before = accuracy(labels[1500:], probs=probs[1500:]).mean()
    assert accuracy(labels[1500:], probs=got).mean() == before

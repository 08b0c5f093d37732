"""Cross-fitting: no row sees its own label, folds are even and repeatable, weights count in the fits only."""

import pytest
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate import TemperatureScaling
from trueline.contracts import Calibrator, cross_fit


class _Frequencies(Calibrator):
    """Says the label frequencies of the samples it was fitted on, whatever the prediction."""

    preserves_ranking = False

    def n_parameters(self, num_classes: int) -> int:
        return num_classes

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        share = torch.ones(len(labels), dtype=torch.float64) if weight is None else weight
        self.totals_ = torch.zeros(log_probs.shape[1], dtype=torch.float64).index_add(0, labels, share)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (self.totals_ / self.totals_.sum()).clamp_min(1e-30).log().expand_as(log_probs)


def _problem(generator: torch.Generator, samples: int = 60, classes: int = 4) -> tuple[Tensor, Tensor]:
    logits = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return torch.multinomial((0.5 * logits).softmax(dim=1), 1, generator=generator).squeeze(1), logits


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_a_row_is_mapped_by_the_other_folds(folds: int) -> None:
    """With one class per sample, the fitted frequencies list the samples that were fitted on."""
    labels = torch.arange(7)
    fitted_on = cross_fit(_Frequencies, labels, logits=torch.zeros(7, 7), folds=folds).exp() > 1e-9
    assert not fitted_on.diagonal().any()
    sizes = (~fitted_on).sum(dim=1)
    assert set(sizes.tolist()) <= {7 // folds, -(-7 // folds)}
    for row in range(7):  # whoever shares a fold is left out together
        own = (~fitted_on[row]).nonzero().flatten()
        assert all(torch.equal(fitted_on[row], fitted_on[other]) for other in own)


def test_samples_of_weight_zero_fill_up_the_folds() -> None:
    weight = torch.tensor([1.0, 0, 1, 0, 1, 1, 0])
    mapped = cross_fit(_Frequencies, torch.arange(7), logits=torch.zeros(7, 7), weight=weight, folds=2)
    _, sizes = mapped.unique(dim=0, return_counts=True)
    assert sizes.sort().values.tolist() == [3, 4]


def test_leaving_one_out_equals_the_loop(generator: torch.Generator) -> None:
    labels, logits = _problem(generator, samples=12)
    log_probs = cross_fit(TemperatureScaling, labels, logits=logits, folds=12)
    for row in range(12):
        others = torch.arange(12) != row
        one = TemperatureScaling().fit(labels[others], logits=logits[others])
        assert torch.allclose(log_probs[row], one.transform(logits=logits[row : row + 1])[0], atol=1e-12)


def test_folds_repeat_unless_another_generator_deals_them(generator: torch.Generator) -> None:
    labels, logits = _problem(generator)
    state = torch.get_rng_state()
    first = cross_fit(TemperatureScaling, labels, logits=logits)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, cross_fit(TemperatureScaling, labels, logits=logits))
    seeded = torch.Generator().manual_seed(0)
    assert torch.equal(first, cross_fit(TemperatureScaling, labels, logits=logits, generator=seeded))
    assert not torch.equal(first, cross_fit(TemperatureScaling, labels, logits=logits, generator=seeded))


def test_logits_probabilities_and_constants_agree(generator: torch.Generator) -> None:
    labels, logits = _problem(generator)
    log_probs = cross_fit(TemperatureScaling, labels, logits=logits)
    assert log_probs.dtype == torch.float64
    assert torch.allclose(log_probs.exp().sum(dim=1), torch.ones(60, dtype=torch.float64))
    for given_as in ({"probs": logits.softmax(dim=1)}, {"logits": logits + 7}, {"logits": logits.requires_grad_()}):
        same = cross_fit(TemperatureScaling, labels, **given_as)
        assert torch.allclose(same, log_probs, atol=1e-8)
        assert not same.requires_grad
    log_odds = logits.detach()[:, 0]
    binary = (log_odds + torch.randn(60, generator=generator) > 0).long()
    column = cross_fit(TemperatureScaling, binary, logits=log_odds)
    both = cross_fit(TemperatureScaling, binary, logits=torch.stack([-log_odds / 2, log_odds / 2], dim=1))
    assert torch.allclose(column, both, atol=1e-8)
    assert cross_fit(TemperatureScaling, labels, logits=logits.float()).dtype == torch.float64


def test_weight_zero_is_absence_and_scale_does_not_matter(generator: torch.Generator) -> None:
    labels, logits = _problem(generator)
    weight = torch.rand(60, generator=generator, dtype=torch.float64)
    ones = cross_fit(_Frequencies, labels, logits=logits, weight=torch.ones(60))
    assert torch.allclose(ones, cross_fit(_Frequencies, labels, logits=logits), atol=1e-14)
    weighted = cross_fit(_Frequencies, labels, logits=logits, weight=weight)
    assert torch.allclose(weighted, cross_fit(_Frequencies, labels, logits=logits, weight=9 * weight), atol=1e-12)
    absent = torch.rand(60, generator=generator) < 0.3
    weight[absent] = 0
    kept = cross_fit(_Frequencies, labels, logits=logits, weight=weight)
    without = cross_fit(_Frequencies, labels[~absent], logits=logits[~absent], weight=weight[~absent])
    assert torch.allclose(kept[~absent], without, atol=1e-12)
    assert kept[absent].isfinite().all()


def test_saturated_probabilities_stay_finite() -> None:
    probs = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
    labels = torch.tensor([0, 0, 1, 1, 1, 0])
    assert cross_fit(TemperatureScaling, labels, probs=probs, folds=2).isfinite().all()


def test_bad_input_is_refused(generator: torch.Generator) -> None:
    labels, logits = _problem(generator, samples=6)
    for folds in (-1, 0, 1, 7):
        with pytest.raises(ValueError, match=r"folds must lie in \[2, 6\]"):
            cross_fit(TemperatureScaling, labels, logits=logits, folds=folds)
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 3\]"):
        cross_fit(TemperatureScaling, labels, logits=logits, weight=torch.tensor([1.0, 1, 1, 0, 0, 0]))
    with pytest.raises(ValueError, match="folds"):
        cross_fit(TemperatureScaling, labels[:1], logits=logits[:1], folds=2)
    with pytest.raises(ValueError, match="labels must lie in"):
        cross_fit(TemperatureScaling, labels + 4, logits=logits)
    with pytest.raises(ValueError, match="weight must be finite"):
        cross_fit(TemperatureScaling, labels, logits=logits, weight=-torch.ones(6))
    with pytest.raises(TypeError):
        cross_fit(TemperatureScaling(), labels, logits=logits)

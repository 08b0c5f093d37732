"""Scaling-binning: constant on bins, means of the smooth map, parts of the data, hard cases."""

import pytest
import torch
from oracles import binning_maps as oracle

from trueline.calibrate import HistogramBinning, ScalingBinning, TemperatureScaling
from trueline.calibrate._cross_validation import shuffled
from trueline.contracts import check_calibrator, facts_of


def _draw(generator: torch.Generator, samples: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    odds = 2 * torch.randn(samples, generator=generator, dtype=torch.float64)
    return torch.bernoulli((odds / 2).sigmoid(), generator=generator).long(), odds


def test_it_keeps_the_contract() -> None:
    check_calibrator(lambda: ScalingBinning(calibrator=TemperatureScaling(), bins=3))


def test_the_result_is_the_mean_of_the_smooth_map_in_each_bin(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    weight = torch.rand(120, generator=generator, dtype=torch.float64)
    for w in (None, weight):
        fitted = ScalingBinning(bins=6).fit(labels, logits=odds, weight=w)
        smooth = TemperatureScaling().fit(labels, logits=odds, weight=w).predict_proba(logits=odds)[:, 1]
        plain = None if w is None else w.tolist()
        edges = oracle.cuts(smooth.logit().float().tolist(), 6, plain)
        means = oracle.means(smooth.logit().tolist(), smooth.tolist(), edges, plain)
        assert fitted.levels_[0].tolist() == pytest.approx(means, abs=1e-9)
        got = fitted.predict_proba(logits=odds)[:, 1]
        assert got.unique().tolist() == pytest.approx(means, abs=1e-9)
        mass = torch.ones_like(got) if w is None else w
        assert (mass @ got).item() == pytest.approx((mass @ smooth).item())


def test_many_bins_are_the_smooth_map_at_the_samples(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    fitted = ScalingBinning(bins=len(odds)).fit(labels, logits=odds)
    smooth = TemperatureScaling().fit(labels, logits=odds)
    assert torch.allclose(fitted.transform(logits=odds), smooth.transform(logits=odds), atol=1e-9)


def test_parts_do_not_depend_on_the_order_and_weights_are_repetitions(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    times = torch.arange(120) % 3
    make = ScalingBinning(bins=4, share=0.5, seed=3)
    expected = make.fit(labels, logits=odds, weight=times.double()).transform(logits=odds)
    rows = torch.arange(120).repeat_interleave(times)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    assert torch.allclose(make.fit(labels[rows], logits=odds[rows]).transform(logits=odds), expected, atol=1e-9)


def test_a_share_parts_the_samples(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    fitted = ScalingBinning(bins=4, share=0.25, seed=3).fit(labels, logits=odds)
    dealt = shuffled(torch.stack([-odds, odds], dim=1).div(2).log_softmax(1), labels, None, seed=3)
    assert dealt.counts
    order = dealt.samples[dealt.place.argsort()]
    assert sorted(order.tolist()) == list(range(120))
    smooth = TemperatureScaling().fit(labels[order[:30]], logits=odds[order[:30]])
    assert isinstance(fitted.calibrator_, TemperatureScaling)
    assert fitted.calibrator_.temperature_ == pytest.approx(smooth.temperature_, rel=1e-9)
    values = smooth.predict_proba(logits=odds[order[30:]])[:, 1]
    expected = values.sort().values[:22].mean().item()  # 22.5 of 90 samples; the lower cut is as near
    assert fitted.levels_[0, 0].item() == pytest.approx(expected)
    again = ScalingBinning(bins=4, share=0.25, seed=3).fit(labels, logits=odds)
    assert torch.equal(again.transform(logits=odds), fitted.transform(logits=odds))
    other = ScalingBinning(bins=4, share=0.25, seed=5).fit(labels, logits=odds)
    assert not torch.equal(other.transform(logits=odds), fitted.transform(logits=odds))


def test_the_option_is_not_fitted(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    given = TemperatureScaling()
    ScalingBinning(calibrator=given).fit(labels, logits=odds)
    with pytest.raises(RuntimeError, match="not fitted"):
        given.state()


def test_impossible_options_are_refused() -> None:
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match="share must lie strictly between 0 and 1"):
            ScalingBinning(share=share)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        ScalingBinning(bins=0)
    labels, logits = torch.tensor([0, 1]), torch.eye(2)
    with pytest.raises(ValueError, match="without weight"):
        ScalingBinning(share=0.1).fit(labels, logits=logits)
    with pytest.raises(ValueError, match="without weight"):
        ScalingBinning(share=0.5).fit(labels, logits=logits, weight=torch.tensor([1.0, 0.0]))


def test_the_facts_count_what_is_learned() -> None:
    assert facts_of(ScalingBinning).references[0].arxiv == "1909.10155"
    assert ScalingBinning(bins=10).n_parameters(3) == 1 + 3 * 19
    assert ScalingBinning(calibrator=HistogramBinning(bins=2)).n_parameters(2) == 4 + 29

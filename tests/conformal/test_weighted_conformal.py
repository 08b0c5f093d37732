"""Conformal sets under covariate shift: unit weights, repetitions, slow twin, coverage with the true ratio."""

import math

import pytest
import torch
from oracles import covariate_shift as oracle

from trueline.conformal import APS, LAC, ClassConditional, WeightedConformal
from trueline.contracts import facts_of, load


def _draw(generator: torch.Generator, n: int = 30, m: int = 10, classes: int = 4) -> tuple[torch.Tensor, ...]:
    logits = 2 * torch.randn(n + m, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    weight = torch.rand(n + m, generator=generator, dtype=torch.float64) * 3
    return labels[:n], logits[:n], weight[:n], logits[n:], weight[n:]


def test_the_slow_twin_gives_the_same_p_values_and_thresholds(generator: torch.Generator) -> None:
    labels, logits, weight, new, own = _draw(generator)
    weight[::5], own[::4] = 0.0, 0.0
    weighted = WeightedConformal(LAC(0.2)).fit(labels, logits=logits, weight=weight)
    scores = (-logits.log_softmax(1)).gather(1, labels[:, None]).squeeze(1).tolist()
    p_values, limits = weighted.p_values(logits=new, weight=own), weighted.thresholds(own)
    for row, w in enumerate(own.tolist()):
        assert limits[row] == oracle.threshold(scores, weight.tolist(), w, 0.2)
        expected = [oracle.p_value(scores, weight.tolist(), s, w) for s in (-new.log_softmax(1))[row].tolist()]
        assert p_values[row].tolist() == pytest.approx(expected)
    assert torch.equal(weighted.predict_set(logits=new, weight=own), p_values > 0.2 + 1e-12)


@pytest.mark.parametrize("method", [LAC(0.1), APS(0.1), APS(0.1, allow_empty=False)])
@pytest.mark.parametrize("unit", [1.0, 0.013])
def test_equal_weights_are_the_method_itself(generator: torch.Generator, method, unit: float) -> None:
    labels, logits, weight, new, own = _draw(generator)
    weighted = WeightedConformal(method).fit(labels, logits=logits, weight=torch.full_like(weight, unit))
    plain = method.unfitted().fit(labels, logits=logits)
    same = torch.full_like(own, unit)
    assert torch.equal(weighted.predict_set(logits=new, weight=same), plain.predict_set(logits=new))
    assert torch.allclose(weighted.p_values(logits=new, weight=same), plain.p_values(logits=new), atol=1e-12)
    assert weighted.effective_size_ == pytest.approx(30)


def test_whole_weights_are_repetitions(generator: torch.Generator) -> None:
    labels, logits, _, new, _ = _draw(generator)
    times = torch.arange(30) % 3
    one = torch.ones(10, dtype=torch.float64)
    weighted = WeightedConformal(LAC(0.1)).fit(labels, logits=logits, weight=times.double())
    repeated = LAC(0.1).fit(labels.repeat_interleave(times), logits=logits.repeat_interleave(times, dim=0))
    assert torch.equal(weighted.predict_set(logits=new, weight=one), repeated.predict_set(logits=new))


def test_a_sample_unlike_all_others_gets_every_class(generator: torch.Generator) -> None:
    labels, logits, weight, new, _ = _draw(generator)
    weighted = WeightedConformal(LAC(0.1)).fit(labels, logits=logits, weight=weight)
    assert weighted.predict_set(logits=new, weight=torch.full((10,), 1e4)).all()
    assert weighted.thresholds(torch.tensor([1e4])).item() == math.inf


def test_the_true_ratio_restores_coverage(generator: torch.Generator) -> None:
    """Inputs N(0, 1), new ones N(1, 1), so that r = exp(x - 1/2); the model is worse where x is large."""
    repeats, per_set, covered, plain = 100, 50, 0, 0

    def samples(count: int, shift: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = torch.randn(count, generator=generator, dtype=torch.float64) + shift
        scores = torch.randn(count, 3, generator=generator, dtype=torch.float64) * 3
        labels = torch.multinomial((scores * (-x).sigmoid()[:, None]).softmax(1), 1, generator=generator).squeeze(1)
        return scores, labels, (x - 0.5).exp()

    for _ in range(repeats):
        logits, labels, weight = samples(100, 0.0)
        new, truth, own = samples(per_set, 1.0)
        weighted = WeightedConformal(LAC(0.1)).fit(labels, logits=logits, weight=weight)
        covered += int(weighted.predict_set(logits=new, weight=own)[torch.arange(per_set), truth].sum())
        sets = LAC(0.1).fit(labels, logits=logits).predict_set(logits=new)
        plain += int(sets[torch.arange(per_set), truth].sum())
    spread = math.sqrt(0.09 / repeats * (1 / per_set + 1 / 30))  # some 30 equally weighted samples a set
    assert covered / (repeats * per_set) >= 0.9 - 3.3 * spread
    assert plain / (repeats * per_set) < 0.9 - 3.3 * spread


def test_it_is_saved_and_refuses_what_does_not_fit(generator: torch.Generator, tmp_path) -> None:
    labels, logits, weight, new, own = _draw(generator)
    weighted = WeightedConformal(APS(0.1, seed=2))
    with pytest.raises(RuntimeError, match="is not fitted"):
        weighted.predict_set(logits=new, weight=own)
    weighted.fit(labels, logits=logits, weight=weight)
    read = load(weighted.save(tmp_path / "weighted"), known=[WeightedConformal])
    assert torch.equal(read.predict_set(logits=new, weight=own), weighted.predict_set(logits=new, weight=own))
    with pytest.raises(ValueError, match="fitted to 4 classes, got predictions of 3"):
        weighted.predict_set(logits=new[:, 1:], weight=own)
    with pytest.raises(ValueError, match="has a calibration of its own, which would not be used here"):
        WeightedConformal(ClassConditional(LAC(0.1)))
    with pytest.raises(ValueError, match="positive somewhere"):
        weighted.fit(labels, logits=logits, weight=torch.zeros_like(weight))
    with pytest.raises(ValueError, match="at least zero"):
        weighted.predict_set(logits=new, weight=-own)
    assert facts_of(WeightedConformal).references[0].arxiv == "1904.06019"

"""Venn-Abers prediction: refitting by brute force, closed forms, the guarantee, hard cases."""

import pytest
import torch
from oracles import binning_maps as oracle

from trueline.calibrate import VennAbers
from trueline.contracts import check_calibrator, facts_of
from trueline.numerics import isotonic_fit


def _draw(generator: torch.Generator, samples: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    odds = (2 * torch.randn(samples, generator=generator)).round(decimals=0 if samples < 20 else 1).double()
    return torch.bernoulli((odds / 2).sigmoid(), generator=generator).long(), odds


def test_it_keeps_the_contract() -> None:
    check_calibrator(VennAbers)


@pytest.mark.parametrize("seed", range(6))
def test_refitting_with_each_label_gives_the_same_pair(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    samples = 3 + 3 * seed
    odds = (2 * torch.randn(samples, generator=generator)).round().double()  # ties
    labels = torch.randint(0, 2, (samples,), generator=generator)  # violators everywhere
    weight = torch.randint(0, 3, (samples,), generator=generator).double() if seed % 2 else None
    asked = torch.cat([odds, torch.arange(-8, 8.5, 0.5).double()])
    lower, upper = VennAbers().fit(labels, logits=odds, weight=weight).intervals(logits=asked)
    plain = None if weight is None else weight.tolist()
    expected = [oracle.venn_abers(odds.tolist(), labels.tolist(), s, plain) for s in asked.tolist()]
    assert lower[:, 0].tolist() == pytest.approx([pair[0] for pair in expected], abs=1e-12)
    assert upper[:, 0].tolist() == pytest.approx([pair[1] for pair in expected], abs=1e-12)


def test_refitting_a_larger_set_gives_the_same_pair(generator: torch.Generator) -> None:
    labels, odds = _draw(generator, 400)
    asked = 3 * torch.randn(40, generator=generator).double()
    lower, upper = VennAbers().fit(labels, logits=odds).intervals(logits=asked)
    for added, bound in ((0, lower), (1, upper)):
        for place, s in enumerate(asked.float()):
            scores = torch.cat([odds.float(), s[None]])
            refitted = isotonic_fit(scores, torch.cat([labels, torch.tensor([added])]))[-1]
            assert bound[place, 0].item() == pytest.approx(refitted.item(), abs=1e-12)


def test_the_pair_holds_the_isotonic_fit_and_rises(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    fitted = VennAbers().fit(labels, logits=odds)
    plain = isotonic_fit(odds.float(), labels)
    lower, upper = (bound[:, 0] for bound in fitted.intervals(logits=odds))
    assert (lower <= plain + 1e-12).all()
    assert (plain <= upper + 1e-12).all()
    lower, upper = (bound[:, 0] for bound in fitted.intervals(logits=torch.linspace(-9, 9, 200)))
    assert (lower < upper).all()
    assert (lower.diff() >= 0).all()
    assert (upper.diff() >= 0).all()


def test_outside_all_scores_one_end_is_certain(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    lower, upper = VennAbers().fit(labels, logits=odds).intervals(logits=torch.tensor([-100.0, 100.0]))
    assert lower[0].item() == 0
    assert upper[1].item() == 1


def test_one_sample_has_a_closed_form() -> None:
    fitted = VennAbers().fit(torch.tensor([1]), logits=torch.tensor([0.0]))
    lower, upper = fitted.intervals(logits=torch.tensor([-1.0, 0.0, 1.0]))
    assert lower[:, 0].tolist() == [0, 0.5, 0.5]
    assert upper[:, 0].tolist() == [1, 1, 1]
    point = fitted.predict_proba(logits=torch.tensor([-1.0, 0.0, 1.0]).double())[:, 1]
    assert point.tolist() == pytest.approx([0.5, 2 / 3, 2 / 3])


def test_the_point_is_between_and_off_zero_and_one(generator: torch.Generator) -> None:
    odds = torch.linspace(-3, 3, 50).double()
    fitted = VennAbers().fit((odds > 0).long(), logits=odds)
    lower, upper = (bound[:, 0] for bound in fitted.intervals(logits=odds))
    point = fitted.predict_proba(logits=odds)[:, 1]
    assert torch.allclose(point, upper / (1 - lower + upper))
    assert ((point > lower) & (point < upper)).all()


def test_many_classes_have_a_pair_each(generator: torch.Generator) -> None:
    logits = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    lower, upper = VennAbers().fit(labels, logits=logits).intervals(logits=logits)
    odds = logits[:, 1] - logits[:, [0, 2]].logsumexp(1)
    pair = VennAbers().fit((labels == 1).long(), logits=odds).intervals(logits=odds)
    assert torch.equal(lower[:, 1:2], pair[0])
    assert torch.equal(upper[:, 1:2], pair[1])


def test_one_of_the_two_is_calibrated_exactly() -> None:
    """Over all ways to single out one of n exchangeable samples, p of its own label averages to the label.

    This is the guarantee itself, summed up: with the true label added the fit is that of all n, whoever is new.
    """
    odds = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    total = 0.0
    for new in range(6):
        kept = [i for i in range(6) if i != new]
        lower, upper = VennAbers().fit(labels[kept], logits=odds[kept]).intervals(logits=odds[new : new + 1])
        total += (upper if labels[new] else lower).item() - labels[new].item()
    assert total == pytest.approx(0, abs=1e-12)


def test_intervals_refuse_what_the_map_refuses() -> None:
    with pytest.raises(RuntimeError, match="fit"):
        VennAbers().intervals(logits=torch.eye(2))
    fitted = VennAbers().fit(torch.tensor([0, 1]), logits=torch.eye(2))
    with pytest.raises(ValueError, match="2 classes"):
        fitted.intervals(logits=torch.eye(3))


def test_the_facts_name_the_papers() -> None:
    assert facts_of(VennAbers).references[0].arxiv == "1511.00213"
    assert VennAbers().n_parameters(2) is None

"""Calibeating by tracking: the running mean of a bin, the slow twin, the guarantee against any labels."""

import pytest
import torch
from oracles import online as oracle

from trueline.calibrate import TOPS, Calibeating, OnlineBeta, OnlinePlatt
from trueline.calibrate._tops import bin_of
from trueline.contracts import facts_of


def test_a_bin_states_its_running_mean() -> None:
    """With log-odds 0 and short steps the base stays in (0.4, 0.5]: k labels of sum S give (m + S)/(1 + k)."""
    labels = torch.tensor([0, 0, 1, 0, 0, 1, 0])
    stated = Calibeating(OnlinePlatt(diameter=0.05)).update(labels, probs=torch.full((7,), 0.5, dtype=torch.float64))
    sums = torch.cat([torch.zeros(1), labels.cumsum(0)[:-1]]).double()
    assert torch.allclose(stated, (0.45 + sums) / (1 + torch.arange(7)), rtol=1e-12)


def test_the_slow_twin_states_the_same(generator: torch.Generator) -> None:
    logits = 2 * torch.randn(300, generator=generator, dtype=torch.float64)
    labels = torch.bernoulli(torch.sigmoid(0.5 * logits), generator=generator).long()
    base = oracle.online_newton(logits.tolist(), labels.tolist(), oracle.platt_features)
    for bins in (1, 10):
        expected = oracle.tracked(base, labels.tolist(), bins)
        assert torch.allclose(TOPS(bins=bins).update(labels, logits=logits), torch.tensor(expected).double(), atol=1e-7)


def test_one_bin_is_the_running_mean_of_all_labels() -> None:
    labels = torch.tensor([1, 1, 0, 1])
    stated = TOPS(bins=1).update(labels, logits=torch.tensor([5.0, -3.0, 0.0, 1.0], dtype=torch.float64))
    assert stated.tolist() == pytest.approx([0.5, 1.5 / 2, 2.5 / 3, 2.5 / 4])


@pytest.mark.parametrize("bins", [1, 3, 7, 10, 49])
def test_edges_belong_to_the_bin_below(bins: int) -> None:
    assert bin_of(0.0, bins) == 0
    for m in range(bins):
        edge = (m + 1) / bins
        assert bin_of(edge, bins) == m == oracle.bin_of(edge, bins)
        above = torch.nextafter(torch.tensor(edge, dtype=torch.float64), torch.tensor(2.0)).item()
        if edge < 1:
            assert bin_of(above, bins) == m + 1


def test_a_base_is_copied_not_used_up() -> None:
    base = OnlineBeta()
    first, second = Calibeating(base), Calibeating(base)
    labels, probs = torch.tensor([1, 1, 0]), torch.tensor([0.9, 0.2, 0.4])
    assert torch.equal(first.update(labels, probs=probs), second.update(labels, probs=probs))
    assert not hasattr(base, "theta_")


def test_no_fixed_value_per_bin_is_much_better_whatever_the_labels() -> None:
    """Labels against the base's prediction, the worst for it: tracking still ends near the best value for each bin."""
    tops, base, labels = TOPS(), OnlinePlatt(), []
    scores = torch.linspace(-2, 2, 7, dtype=torch.float64).repeat(60)
    stated, places = [], []
    for score in scores[:, None]:
        p = base.predict(logits=score).item()
        label = torch.tensor([int(p <= 0.5)])
        places.append(bin_of(p, 10))
        labels.append(label.item())
        stated.append(tops.update(label, logits=score).item())
        base.update(label, logits=score)
    y, place = torch.tensor(labels).double(), torch.tensor(places)
    best = sum((y[place == b] - y[place == b].mean()).square().sum().item() for b in place.unique())
    regret = (torch.tensor(stated) - y).square().sum().item() - best
    # A bin with n outcomes loses at most 1 + 1/2 + ... + 1/n beside the price of its first prediction.
    bound = sum(2 + float(torch.tensor(float((place == b).sum())).log()) for b in place.unique())
    assert regret <= bound


def test_the_options_are_checked_and_the_papers_named() -> None:
    with pytest.raises(ValueError, match="TOPS needs at least one bin, got bins=0"):
        TOPS(bins=0)
    assert facts_of(TOPS).references[0].arxiv == "2305.00070"
    assert repr(TOPS()) == "TOPS(bins=10)"

"""The report shows what the measures say, before and after a temperature and between runs."""

import pytest
import torch

from trueline.measure import evaluate
from trueline.report._score import BINS, compare, difference, score, shown
from trueline.report._summary import METRICS, Comparison


def predictions(n: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 5, generator=generator)
    return logits, logits.softmax(1).multinomial(1, generator=generator).squeeze(1)


def test_shown_scores_are_those_of_the_measures() -> None:
    logits, labels = predictions(200)
    found, expected = shown(score(logits, labels)), evaluate(labels, logits=logits, bins=BINS)
    for name in METRICS:
        assert getattr(found, name) == expected.scores[name]
    assert (found.samples, found.noise) == (200, expected.noise)
    assert found.within_noise == expected.within_noise
    assert found.confidence == pytest.approx(found.accuracy.value + found.confidence_gap.value)


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must lie in"):
        score(torch.randn(2, 3), torch.tensor([0, 3]))


def test_later_runs_are_compared_with_the_first() -> None:
    logits, labels = predictions(50)
    scored = [score(logits * s, labels) for s in (1, 2, 3)]
    found = compare(["a", "b", "c"], scored, [scored[0], None, scored[2]])
    assert [(c.label, c.baseline) for c in found] == [("b", "a"), ("c", "a")]
    assert found[0].after is None
    assert isinstance(found[1], Comparison)
    assert found[1].after == found[1].before == difference(scored[2], scored[0])
    assert list(found[0].before) == list(METRICS)

"""Fingerprints of predictions: a sample of the rows that depends on their values alone."""

import pytest
import torch

from trueline.contracts import fingerprint, share_seen


def _rows(seed: int, samples: int = 2000, classes: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)).log_softmax(dim=1)


def test_order_and_repetition_change_nothing() -> None:
    rows = _rows(0)
    assert torch.equal(fingerprint(rows), fingerprint(rows.flip(0)))
    assert torch.equal(fingerprint(rows), fingerprint(torch.cat([rows, rows[:50]])))
    assert len(fingerprint(rows)) == 256


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_known_rows_is_estimated(share: float) -> None:
    rows, count = _rows(0), round(2000 * share)
    found = share_seen(fingerprint(rows), torch.cat([rows[:count], _rows(1)]))
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / 256) ** 0.5)


def test_it_is_exact_for_few_rows() -> None:
    rows = _rows(0, samples=40)
    assert share_seen(fingerprint(rows), rows[:10]) == 0.25


def test_rounding_hides_nothing() -> None:
    rows = _rows(0)
    rounded = rows.exp().float().double().log()
    assert share_seen(fingerprint(rows), rounded) > 0.98


def test_alike_rows_say_nothing() -> None:
    rows = torch.tensor([[0.7, 0.3]], dtype=torch.float64).log().expand(10, 2)
    assert len(fingerprint(rows)) == 0
    assert share_seen(fingerprint(rows), rows) == 0
    assert share_seen(fingerprint(rows[:1]), rows) == 1

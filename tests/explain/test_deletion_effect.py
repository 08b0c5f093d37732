"""Fits without the samples that matter: models whose changes are known, chance, records and refusals."""

import json
import math
from typing import Any

import pytest
import torch

from trueline.contracts._check_probe import _check_record
from trueline.explain._deletion_effect import deletion_effect

PULLS = torch.tensor([[4.0, -3.0, 2.0, -1.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0], [0.0] * 9 + [7.0]])


def additive(kept: torch.Tensor) -> torch.Tensor:
    """A model whose predictions are plain sums over the samples it has seen."""
    return PULLS[:, kept].sum(dim=1)


def test_an_additive_model_changes_by_what_is_left_out() -> None:
    found = deletion_effect(PULLS, additive, shares=(0.1, 0.2, 0.39), draws=2)
    assert found.dropped == (1, 2, 3)
    assert found.proponents.tolist() == [[-4, -6, -6.5], [-7, -7, -7]]
    assert found.opponents[0].tolist() == [3, 4, 4]
    assert found.fits == 1 + 3 * (2 * 2 + 2)
    assert found.mean["proponents"][0].value == -5.5


def test_random_samples_change_an_additive_model_by_their_share_on_average() -> None:
    found = deletion_effect(PULLS, additive, shares=(0.3,), draws=4000)
    expected = -0.3 * PULLS.double().sum(dim=1)
    assert found.random[:, 0].tolist() == pytest.approx(expected.tolist(), abs=0.2)


def test_a_share_is_rounded_down_to_at_least_one_sample() -> None:
    sizes: list[int] = []

    def fit(kept: torch.Tensor) -> torch.Tensor:
        sizes.append(len(kept))
        assert (kept.diff() > 0).all()
        return torch.zeros(1)

    found = deletion_effect(torch.arange(100.0)[None], fit, shares=(0.001, 0.29, 0.999), draws=1)
    assert found.dropped == (1, 29, 99)
    assert set(sizes) == {100, 99, 71, 1}


def test_the_same_generator_draws_the_same_samples(generator: torch.Generator) -> None:
    first = deletion_effect(PULLS, additive, generator=generator)
    again = deletion_effect(PULLS, additive, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first.random, again.random)
    assert not torch.equal(deletion_effect(PULLS, additive, generator=generator).random, first.random)


def test_one_test_point_has_no_interval_and_draws_none() -> None:
    found = deletion_effect(PULLS[:1], lambda kept: additive(kept)[:1], shares=(0.1,), draws=1)
    assert found.mean["opponents"][0].high == math.inf
    assert found.to_dict()["mean"]["opponents"][0]["high"] is None
    pytest.importorskip("altair")
    assert found.plot().to_dict()["layer"][0]["data"]["values"] == []


def test_the_record_becomes_words_json_and_a_chart() -> None:
    found = deletion_effect(PULLS, additive)
    _check_record(found, 2)
    assert "without 1.0% (1): proponents -5.5 " in str(found)
    assert json.loads(json.dumps(found.to_dict()))["proponents"] == found.proponents.tolist()
    pytest.importorskip("altair")
    assert len(found.plot().to_dict()["layer"][1]["data"]["values"]) == 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contributions": torch.zeros(0, 3)}, r"contributions must have shape \(M, N\)"),
        ({"contributions": torch.zeros(2, 1)}, r"contributions must have shape \(M, N\)"),
        ({"contributions": torch.full((2, 10), math.nan)}, "contributions must be finite"),
        ({"shares": ()}, "at least one"),
        ({"shares": (0.1, 1.0)}, r"shares must be numbers in \(0, 1\)"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"fit": lambda kept: torch.zeros(3)}, r"fit must return \(2,\) finite predictions, one for each row"),
        ({"fit": lambda kept: torch.full((2,), math.nan)}, "finite predictions"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        deletion_effect(**{"contributions": PULLS, "fit": additive, **change})

"""The choice of RAPS's options: the rank by hand, the objectives, and what it is for."""

import math

import pytest
import torch
from oracles import conformal as oracle

from trueline.conformal import APS, RAPS, evaluate_sets, tune_raps


def _draw(generator: torch.Generator, samples: int = 600, classes: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 1.5 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def test_the_free_ranks_are_those_of_most_labels(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 101)
    ranks = sorted(oracle.ranks(p)[y] for p, y in zip(logits.softmax(dim=1).tolist(), labels.tolist(), strict=True))
    for alpha in (0.1, 0.25):
        expected = ranks[math.ceil(round((1 - alpha) * 100, 9))]
        assert tune_raps(labels, alpha, logits=logits).k_reg == expected


def test_ties_rank_the_lower_class_first() -> None:
    logits = torch.zeros(10, 4)
    assert tune_raps(torch.full((10,), 2), 0.1, logits=logits).k_reg == 3


@pytest.mark.parametrize("objective", ["size", "adaptiveness"])
def test_no_other_penalty_of_the_list_does_better(generator: torch.Generator, objective: str) -> None:
    labels, logits = _draw(generator)
    tuned = tune_raps(labels, 0.1, logits=logits, objective=objective, seed=3)
    assert tuned.options()["seed"] == 3
    penalties = {
        "size": (0.001, 0.01, 0.1, 0.2, 0.5),
        "adaptiveness": (0, 1e-5, 1e-4, 8e-4, 9e-4, 1e-3, 1.5e-3, 2e-3),
    }[objective]
    costs = {}
    for penalty in penalties:
        raps = RAPS(0.1, penalty=penalty, k_reg=tuned.k_reg, seed=3).fit(labels, logits=logits)
        report = evaluate_sets(labels, raps.predict_set(logits=logits), 0.1)
        costs[penalty] = report.mean_size.value if objective == "size" else report.size_gap
    assert costs[tuned.penalty] == min(costs.values())


def test_tuned_sets_are_smaller_than_those_of_aps(generator: torch.Generator) -> None:
    # Labels are among the first three, and the tail is worth nothing, long as it is in some rows.
    logits = torch.randn(3000, 30, generator=generator) * (0.2 + 3 * torch.rand(3000, 1, generator=generator))
    places = torch.randint(3, (3000, 1), generator=generator)
    labels = logits.argsort(dim=1, descending=True).gather(1, places).squeeze(1)
    tuned = tune_raps(labels[:600], 0.1, logits=logits[:600]).fit(labels[600:1800], logits=logits[600:1800])
    plain = APS(0.1).fit(labels[600:1800], logits=logits[600:1800])
    sizes = [m.predict_set(logits=logits[1800:]).sum(dim=1).double().mean() for m in (tuned, plain)]
    assert sizes[0] < 3 < 6 < sizes[1]


def test_too_few_samples_are_said_once(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 5)
    with pytest.warns(UserWarning, match="only 5") as said:
        tune_raps(labels, 0.1, logits=logits)
    assert len(said) == 1


def test_bad_input_is_refused(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 20)
    with pytest.raises(ValueError, match="objective must be one of 'size', 'adaptiveness'"):
        tune_raps.__wrapped__(labels, 0.1, logits=logits, objective="speed")
    with pytest.raises(ValueError, match="alpha"):
        tune_raps(labels, 0.0, logits=logits)

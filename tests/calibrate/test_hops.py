"""Calibeating by hedging: Foster's rules against the slow twin, draws that repeat, calibration against an adversary."""

import pytest
import torch
from oracles import online as oracle

from trueline.calibrate import HOPS, HedgedCalibeating, OnlinePlatt
from trueline.calibrate._foster import Foster


def test_the_first_play_is_the_pivot() -> None:
    for cells in (1, 2, 10):
        for pivot in range(cells):
            assert Foster([0.0] * cells, [0] * cells).play(pivot, seed=0, step=0) == pivot


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_every_play_is_one_that_the_slow_twin_allows(cells: int, generator: torch.Generator) -> None:
    forecaster, seen = Foster([0.0] * cells, [0] * cells), [[] for _ in range(cells)]
    mixed = 0
    for step, label in enumerate(torch.randint(2, (400,), generator=generator).tolist()):
        pivot = step % cells
        allowed = oracle.foster_choices(seen, pivot)
        cell = forecaster.play(pivot, seed=0, step=step)
        assert allowed.get(cell, 0) > 0
        mixed += len(allowed) == 2
        forecaster.learn(cell, label)
        seen[cell].append(label)
    assert mixed > 0 or cells == 1


def test_two_cells_are_played_with_the_probabilities_that_cancel() -> None:
    # Averages 0.9 in [0, 1/2] and 0.2 in [1/2, 1]: the deficit is 0.3, the excess 0.4.
    sums, counts = [9.0, 2.0], [10, 10]
    allowed = oracle.foster_choices([[1] * 9 + [0], [1] * 2 + [0] * 8], 0)
    assert allowed == pytest.approx({0: 3 / 7, 1: 4 / 7})
    plays = [Foster(sums, counts).play(0, seed=5, step=step) for step in range(4000)]
    share = plays.count(0) / len(plays)
    assert share == pytest.approx(3 / 7, abs=4 * (3 / 7 * 4 / 7 / 4000) ** 0.5)


def test_draws_depend_on_the_seed_and_nothing_else(generator: torch.Generator) -> None:
    labels, logits = torch.randint(2, (600,), generator=generator), torch.zeros(600)
    state = torch.get_rng_state()
    stated = [HOPS(bins=2, seed=seed).update(labels, logits=logits) for seed in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(stated[0], stated[1])
    assert not torch.equal(stated[0], stated[2])


def test_it_is_calibrated_where_labels_oppose_its_base() -> None:
    """Each label contradicts what the base says; the stated midpoints still meet their outcomes."""
    hops, base, stated, labels = HOPS(bins=5), OnlinePlatt(), [], []
    for score in torch.linspace(-2, 2, 7, dtype=torch.float64).repeat(60)[:, None]:
        label = torch.tensor([int(base.predict(logits=score).item() <= 0.5)])
        stated.append(hops.update(label, logits=score).item())
        base.update(label, logits=score)
        labels.append(label.item())
    p, y = torch.tensor(stated), torch.tensor(labels).double()
    error = sum(abs((p[p == v] - y[p == v]).sum().item()) for v in p.unique()) / len(y)
    assert error <= 0.1 + 0.05  # half a cell, and some for the finite stream
    assert {round(10 * v, 5) for v in stated} <= {1, 3, 5, 7, 9}


def test_the_options_are_checked() -> None:
    with pytest.raises(ValueError, match="HOPS needs a seed of at least zero, got -1"):
        HOPS(seed=-1)
    with pytest.raises(ValueError, match="HedgedCalibeating needs at least one bin"):
        HedgedCalibeating(OnlinePlatt(), bins=0)

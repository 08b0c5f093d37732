"""Selection with the best of several models: the one-model case, the slow twin, invariances, and false discoveries."""

from fractions import Fraction

import pytest
import torch
from oracles import conformal_selection as oracle

from trueline.conformal import conformal_selection, optimised_selection
from trueline.contracts import facts_of


def _draw(
    generator: torch.Generator, n: int = 14, m: int = 9, models: int = 3, spread: float = 0.8, ties: bool = False
) -> tuple[torch.Tensor, ...]:
    truth = torch.randn(n + m, generator=generator, dtype=torch.float64)
    guess = truth + spread * torch.randn(models, n + m, generator=generator, dtype=torch.float64)
    if ties:
        guess = guess.mul(2).round()
    return truth[:n] > 0.3, guess[:, :n], guess[:, n:], truth[n:] > 0.3


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shrink", [Fraction(1), Fraction(9, 10)])
def test_the_slow_twin_selects_the_same(generator: torch.Generator, ties: bool, shrink: Fraction) -> None:
    for _ in range(25):
        wanted, known, new, _ = _draw(generator, ties=ties)
        found = optimised_selection(wanted, known, new, level=0.4, shrink=float(shrink))
        selected, models, e_values = oracle.optimised_selection(
            wanted.tolist(), known.tolist(), new.tolist(), Fraction(2, 5), shrink
        )
        assert found.model.tolist() == models
        assert found.e_values.tolist() == pytest.approx([float(e) for e in e_values])
        assert found.selected.tolist() == selected


@pytest.mark.parametrize("ties", [False, True])
def test_one_model_is_conformal_selection(generator: torch.Generator, ties: bool) -> None:
    sizes = set()
    for _ in range(50):
        wanted, known, new, _ = _draw(generator, n=40, m=20, models=1, ties=ties)
        plain = conformal_selection(wanted, known[0], new[0], level=0.25)
        found = optimised_selection(wanted, known, new, level=0.25)
        assert torch.equal(found.selected, plain.selected)
        assert torch.equal(found.p_values, plain.p_values)
        sizes.add(int(plain.selected.sum()))
    assert len(sizes) > 5


def test_equal_models_are_one_model_and_the_first_of_them(generator: torch.Generator) -> None:
    wanted, known, new, _ = _draw(generator, n=40, m=20, models=1)
    found = optimised_selection(wanted, known.expand(4, -1), new.expand(4, -1), level=0.25)
    assert torch.equal(found.selected, conformal_selection(wanted, known[0], new[0], level=0.25).selected)
    assert (found.model == 0).all()


def test_neither_units_nor_the_order_of_samples_matter(generator: torch.Generator) -> None:
    wanted, known, new, _ = _draw(generator, n=30, m=15)
    plain = optimised_selection(wanted, known, new, level=0.3)
    scale = torch.tensor([[1.0], [30.0], [0.01]], dtype=torch.float64)
    assert torch.equal(
        optimised_selection(wanted, scale * known - 4, scale * new - 4, level=0.3).selected, plain.selected
    )
    rows, columns = torch.randperm(30, generator=generator), torch.randperm(15, generator=generator)
    shuffled = optimised_selection(wanted[rows], known[:, rows], new[:, columns], level=0.3)
    assert torch.equal(shuffled.selected, plain.selected[columns])


def test_chance_only_adds_to_the_selection(generator: torch.Generator) -> None:
    more = 0
    for _ in range(30):
        wanted, known, new, _ = _draw(generator, n=30, m=15)
        base = optimised_selection(wanted, known, new, level=0.3).selected
        for pruning in ("heterogeneous", "homogeneous"):
            found = optimised_selection(wanted, known, new, level=0.3, pruning=pruning, generator=generator)
            assert not (base & ~found.selected).any()
            assert (found.selected <= (found.e_values > 0)).all()
            more += int(found.selected.sum()) - int(base.sum())
    assert more > 0
    first, second = (optimised_selection(wanted, known, new, level=0.3, pruning="heterogeneous") for _ in range(2))
    assert torch.equal(first.selected, second.selected)


def false_discoveries(repeats: int, *, models: int = 30, level: float = 0.2, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the share of false discoveries and the power in each repeat, of ways to choose among weak models."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {f"{way} {what}": [] for way in ("naive", "random", "optimised", "homogeneous")
                                     for what in ("false", "power")}  # fmt: skip
    for _ in range(repeats):
        wanted, known, new, truth = _draw(generator, n=60, m=40, models=models, spread=3.0)
        each = [conformal_selection(wanted, known[i], new[i], level=level).selected for i in range(models)]
        ways = {
            "naive": max(each, key=lambda selected: int(selected.sum())),
            "random": each[0],
            "optimised": optimised_selection(wanted, known, new, level=level).selected,
            "homogeneous": optimised_selection(
                wanted, known, new, level=level, pruning="homogeneous", generator=generator
            ).selected,
        }
        for way, selected in ways.items():
            found[f"{way} false"].append((selected & ~truth).sum().item() / max(1, int(selected.sum())))
            found[f"{way} power"].append((selected & truth).sum().item() / max(1, int(truth.sum())))
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def test_choosing_the_largest_selection_breaks_the_promise_and_this_keeps_it() -> None:
    found = false_discoveries(60, models=15)
    error = {name: 3 * values.std() / 60**0.5 for name, values in found.items()}
    for way in ("optimised", "homogeneous", "random"):
        assert found[f"{way} false"].mean() <= 0.2 + error[f"{way} false"]
    assert found["naive false"].mean() > 0.2 + error["naive false"]


def test_the_record_says_what_was_found(generator: torch.Generator) -> None:
    wanted = torch.tensor([True] * 6 + [False] * 4)
    known = torch.stack([torch.zeros(10), torch.arange(10.0, 0, -1)])
    found = optimised_selection(wanted, known, torch.tensor([[0.0] * 3, [11.0, 12.0, 0.5]]), level=0.3)
    assert "2 of 3 candidates selected" in str(found)
    assert "chosen among 2 models, deterministic pruning; selected candidates by model: 1: 2" in str(found)
    assert found.to_dict()["model"] == [1, 1, 1]
    assert facts_of(optimised_selection).references[0].arxiv == "2411.17983"
    with pytest.raises(ValueError, match=r"shrink must lie in \(0, 1\], got 0"):
        optimised_selection(wanted, known, torch.zeros(2, 1), shrink=0.0)
    with pytest.raises((ValueError, TypeError)):
        optimised_selection(wanted, known[0], torch.zeros(1))
    with pytest.raises((ValueError, TypeError)):
        optimised_selection(wanted, known, torch.zeros(3, 1))
    with pytest.raises((ValueError, TypeError)):
        optimised_selection(wanted, known, torch.zeros(2, 1), pruning="none")

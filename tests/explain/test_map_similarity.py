"""How alike two maps are: closed forms, invariances, ties and zero maps, slow twins, SciPy."""

import math
from collections.abc import Callable

import pytest
import torch
from oracles import map_similarity as slow
from torch import Tensor

from trueline.explain._centre_shift import centre_shift
from trueline.explain._cosine_similarity import cosine_similarity
from trueline.explain._kendall_tau import kendall_tau
from trueline.explain._map_pairs import magnitude, paired_rows
from trueline.explain._rank_correlation import rank_correlation
from trueline.explain._structural_similarity import structural_similarity
from trueline.explain._top_k_intersection import top_k_intersection

VECTORS = {"top_k": top_k_intersection, "rank": rank_correlation, "tau": kendall_tau, "cosine": cosine_similarity}
IMAGES = {**VECTORS, "structure": structural_similarity, "centre": centre_shift}


def drawn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def with_ties(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(0, 5, shape, generator=generator).double()


@pytest.mark.parametrize("name", VECTORS)
def test_equal_maps_have_one(name: str, generator: torch.Generator) -> None:
    for maps in (drawn(generator, 6, 3, 12, 12), with_ties(generator, 6, 12, 12)):
        assert torch.allclose(VECTORS[name](maps, maps), torch.ones(6).double())


@pytest.mark.parametrize("name", IMAGES)
def test_the_order_of_the_two_does_not_matter(name: str, generator: torch.Generator) -> None:
    first, second = (drawn(generator, 6, 12, 12) for _ in range(2))
    assert torch.allclose(IMAGES[name](first, second), IMAGES[name](second, first), atol=1e-14)


@pytest.mark.parametrize("name", IMAGES)
def test_every_sample_stands_alone(name: str, generator: torch.Generator) -> None:
    first, second = (drawn(generator, 6, 12, 12) for _ in range(2))
    whole = IMAGES[name](first, second)
    for sample in range(6):
        part = slice(sample, sample + 1)
        assert torch.allclose(IMAGES[name](first[part], second[part]), whole[part], atol=1e-14)


@pytest.mark.parametrize("name", ["top_k", "rank", "tau", "cosine"])
def test_the_order_of_the_entries_does_not_matter(name: str, generator: torch.Generator) -> None:
    first, second = with_ties(generator, 5, 20) + 1, with_ties(generator, 5, 20) + 1
    order = torch.randperm(20, generator=generator)
    assert torch.allclose(VECTORS[name](first, second), VECTORS[name](first[:, order], second[:, order]), atol=1e-14)


@pytest.mark.parametrize("function", [rank_correlation, kendall_tau])
def test_increasing_functions_keep_the_ranks(
    function: Callable[[Tensor, Tensor], Tensor], generator: torch.Generator
) -> None:
    maps, other = with_ties(generator, 5, 40), drawn(generator, 5, 40)
    assert torch.allclose(function(maps, maps.pow(3).exp()), torch.ones(5).double())
    assert torch.allclose(function(maps, -maps), -torch.ones(5).double())
    assert torch.allclose(function(maps, other), function(maps.exp(), 3 * other - 1), atol=1e-14)


def test_top_k_of_what_is_known() -> None:
    first, second = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]), torch.tensor([[1.0, 5.0, 2.0, 4.0, 3.0]])
    assert [top_k_intersection(first, second, k).item() for k in (1, 2, 3, 5)] == [0, 0.5, pytest.approx(1 / 3), 1]
    assert top_k_intersection(first, second, 0.4).item() == 0.5  # a share of five entries
    assert top_k_intersection(first, second, 0.01).item() == 0  # at least one
    assert top_k_intersection(first, -first, 2).item() == 0


def test_maps_of_zeros_have_what_chance_gives(generator: torch.Generator) -> None:
    zeros, some = torch.zeros(1, 20), drawn(generator, 1, 20).float()
    assert top_k_intersection(zeros, some, 4).item() == pytest.approx(4 / 20)
    assert top_k_intersection(zeros, zeros, 4).item() == pytest.approx(1)


def test_ties_for_the_last_places_share_them() -> None:
    # One place is left for the three 1s of the first map, of which the second has one on top.
    first, second = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]]), torch.tensor([[9.0, 8.0, 0.0, 0.0, 0.0]])
    assert top_k_intersection(first, second, 2).item() == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("size", [2, 3, 8, 9, 33])
def test_slow_twins_of_vectors(size: int, generator: torch.Generator) -> None:
    for draw in (drawn, with_ties):
        first, second = draw(generator, 12, size), draw(generator, 12, size)
        k = max(size // 3, 1)
        twins = {
            "rank": (rank_correlation(first, second), slow.spearman),
            "tau": (kendall_tau(first, second), slow.kendall),
            "top_k": (top_k_intersection(first, second, k), lambda a, b: slow.top_k(a, b, k)),  # noqa: B023
        }
        for found, twin in twins.values():
            wanted = [twin(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
            assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-12, equal_nan=True)


def test_scipy_agrees_on_ranks(generator: torch.Generator) -> None:
    stats = pytest.importorskip("scipy.stats")
    for draw in (drawn, with_ties):
        first, second = draw(generator, 6, 200), draw(generator, 6, 200)
        for sample in range(6):
            a, b = first[sample].numpy(), second[sample].numpy()
            assert kendall_tau(first, second)[sample].item() == pytest.approx(stats.kendalltau(a, b).statistic)
            assert rank_correlation(first, second)[sample].item() == pytest.approx(stats.spearmanr(a, b).statistic)


def test_cosine_knows_no_scale_and_survives_tiny_and_huge_entries() -> None:
    first, second = torch.tensor([[3.0, 4.0]]).double(), torch.tensor([[4.0, 3.0]]).double()
    for scale in (1.0, 1e-200, 1e200):
        assert cosine_similarity(scale * first, second).item() == pytest.approx(0.96)
    assert cosine_similarity(first, -first).item() == pytest.approx(-1)


def test_the_centre_moves_as_the_map_does(generator: torch.Generator) -> None:
    maps = torch.zeros(4, 2, 20, 20)
    maps[:, :, 3:9, 2:8] = torch.randn(4, 2, 6, 6, generator=generator)
    moved = maps.roll((3, 4), dims=(2, 3))
    assert torch.allclose(centre_shift(maps, moved), torch.full((4,), 5.0).double(), atol=1e-6)
    assert torch.allclose(centre_shift(maps, -7 * maps), torch.zeros(4).double(), atol=1e-6)


def test_slow_twins_of_images(generator: torch.Generator) -> None:
    first, second = drawn(generator, 3, 9, 10), drawn(generator, 3, 9, 10)
    a, b = first.tolist(), second.tolist()
    wanted = torch.tensor([slow.centre_distance(x, y) for x, y in zip(a, b, strict=True)]).double()
    assert torch.allclose(centre_shift(first, second), wanted, atol=1e-6)
    for window in (3, 7):
        found = structural_similarity(first, second, window=window, value_range=2.5)
        wanted = [slow.similarity_of_structure(x, y, window, 2.5) for x, y in zip(a, b, strict=True)]
        assert found.tolist() == pytest.approx(wanted, abs=1e-12)


def test_structural_similarity_of_what_is_known(generator: torch.Generator) -> None:
    maps = drawn(generator, 4, 16, 16)
    assert torch.allclose(structural_similarity(maps, maps), torch.ones(4).double())
    # Equal structure at another level: only the first factor is left.
    level = structural_similarity(torch.zeros(1, 11, 11), torch.full((1, 11, 11), 0.5), value_range=1.0).item()
    assert level == pytest.approx(1e-4 / (0.25 + 1e-4))
    ramp = torch.arange(11.0).expand(1, 11, 11) - 5
    assert structural_similarity(ramp, -ramp).item() < -0.9
    for factor in (1e-6, 1e6):
        assert torch.allclose(
            structural_similarity(factor * maps, factor * maps.flip(1)), structural_similarity(maps, maps.flip(1))
        )
    assert structural_similarity(torch.ones(1, 11, 11), torch.ones(1, 11, 11)).item() == 1


def test_magnitude_sums_channels_of_images_alone() -> None:
    maps = torch.tensor([[[[1.0, -2.0]], [[-3.0, 0.5]]]])
    assert magnitude(maps).tolist() == [[[4.0, 2.5]]]
    assert magnitude(maps[:, 0]).tolist() == [[[1.0, 2.0]]]
    assert magnitude(-torch.ones(2, 3)).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("function", [rank_correlation, kendall_tau, cosine_similarity, centre_shift])
def test_a_map_of_zeros_has_no_value_and_only_that_one(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    maps = torch.arange(18.0).view(2, 3, 3)
    other = maps.clone()
    other[0] = 0
    found = function(maps, other)
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(0 if function is centre_shift else 1)


@pytest.mark.parametrize("name", IMAGES)
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    function, maps = IMAGES[name], torch.ones(2, 12, 12)
    with pytest.raises(TypeError):  # the suite's type checker comes first
        function(maps, torch.ones(2, 12, 13))
    with pytest.raises(ValueError, match="second must be finite, but map 1 is not"):
        function(maps, torch.stack([maps[0], maps[0] * math.nan]))
    with pytest.raises(ValueError, match="N >= 1"):
        function(maps[:0], maps[:0])
    with pytest.raises(TypeError):
        function(maps.long(), maps.long())


def test_the_message_names_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2, 4\)"):
        paired_rows(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(TypeError, match=r"first must be floating point, got torch.int64; convert with first.double"):
        paired_rows(torch.ones(2, 3).long(), torch.ones(2, 3))


@pytest.mark.parametrize("k", [0, -1, 145, 2.5, math.nan])
def test_a_number_of_entries_that_there_is_not(k: float) -> None:
    with pytest.raises(ValueError, match="k must be a count from 1 to 144"):
        top_k_intersection(torch.ones(2, 12, 12), torch.ones(2, 12, 12), k)


def test_vectors_are_no_images() -> None:
    for function in (centre_shift, structural_similarity):
        with pytest.raises(ValueError, match="needs maps of images"):
            function(torch.ones(2, 9), torch.ones(2, 9))
    for window in (2, 13, 0):
        with pytest.raises(ValueError, match="window must be odd and at most the sides"):
            structural_similarity(torch.ones(2, 12, 12), torch.ones(2, 12, 12), window=window)
    with pytest.raises(ValueError, match="value_range must be above 0"):
        structural_similarity(torch.ones(2, 12, 12), torch.ones(2, 12, 12), value_range=0.0)

"""Power by ring, against the definition of the transform."""

import math

import pytest
import torch
from oracles.expected_frequency import ring_powers

from trueline.explain._spectral_profile import spectral_profiles


def test_ranks_with_ties_are_scipys(generator: torch.Generator) -> None:
    """The power is that of scipy's ranks over n, left as they are."""
    stats = pytest.importorskip("scipy.stats")
    for distinct in (2, 5, 10_000):
        maps = torch.randint(distinct, (6, 7, 8), generator=generator).double() - distinct / 2
        ranks = torch.from_numpy(stats.rankdata(maps.flatten(1).numpy(), axis=1)).view_as(maps)
        torch.testing.assert_close(spectral_profiles(maps), spectral_profiles(ranks / 56, rank=False))


@pytest.mark.parametrize("size", [(4, 4), (5, 5), (4, 7), (6, 3), (1, 5), (1, 1)])
@pytest.mark.parametrize("rank", [False, True])
def test_rings_are_those_of_the_definition(size: tuple[int, int], rank: bool, generator: torch.Generator) -> None:
    image = torch.randn(1, *size, generator=generator, dtype=torch.float64)
    expected = ring_powers(image[0].tolist(), rank=rank)
    for ring in ("mean", "sum"):
        found = spectral_profiles(image, rank=rank, ring=ring)[0].tolist()  # type: ignore[arg-type]
        divided = [len(powers) if ring == "mean" else 1 for powers in expected]
        sums = [sum(powers) / by for powers, by in zip(expected, divided, strict=True)]
        assert found == pytest.approx(sums, rel=1e-9, abs=1e-12 if size != (1, 1) else 0)


@pytest.mark.parametrize(("side", "rings"), [(32, 23), (224, 159), (8, 6)])
def test_the_number_of_rings_is_that_of_the_published_images(side: int, rings: int) -> None:
    assert spectral_profiles(torch.zeros(1, side, side)).shape == (1, rings)
    assert math.isqrt(2 * (side // 2) ** 2) + 1 == rings


def test_the_power_of_all_rings_is_that_of_the_map(generator: torch.Generator) -> None:
    """Parseval: the coefficients' power is n times the sum of squares."""
    maps = torch.randn(3, 9, 12, generator=generator, dtype=torch.float64)
    power = spectral_profiles(maps, rank=False, ring="sum").sum(dim=1)
    torch.testing.assert_close(power, 9 * 12 * maps.square().sum(dim=(1, 2)))


def test_the_radius_only_cuts_off(generator: torch.Generator) -> None:
    maps = torch.randn(3, 8, 8, generator=generator)
    assert torch.equal(spectral_profiles(maps, max_radius=3), spectral_profiles(maps)[:, :4])


def test_channels_are_summed_with_their_sign(generator: torch.Generator) -> None:
    maps = torch.randn(3, 4, 8, 6, generator=generator, dtype=torch.float64)
    assert torch.equal(spectral_profiles(maps), spectral_profiles(maps.sum(dim=1)))


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 9])
def test_chunks_change_nothing(chunk_size: int, generator: torch.Generator) -> None:
    maps = torch.randn(5, 7, 6, generator=generator)
    assert torch.equal(spectral_profiles(maps, chunk_size=chunk_size), spectral_profiles(maps))

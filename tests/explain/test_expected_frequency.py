"""The expected frequency: waves whose number is known, invariances, a slow twin, and white noise."""

import json
import math
from typing import Any

import pytest
import torch
from oracles import expected_frequency as oracle
from torch import nn

from trueline.explain import attribute
from trueline.explain._expected_frequency import expected_frequency, normalised_expected_frequency


def wave(cycles: int, height: int, width: int) -> torch.Tensor:
    along = torch.arange(width, dtype=torch.float64)
    return torch.cos(2 * math.pi * cycles * along / width).expand(1, height, width)


# Closed forms


@pytest.mark.parametrize("cycles", [1, 2, 5, 7])
@pytest.mark.parametrize("size", [(16, 16), (15, 17), (10, 31)])
def test_a_wave_has_its_number_of_cycles(cycles: int, size: tuple[int, int]) -> None:
    rings = math.isqrt((size[0] // 2) ** 2 + (size[1] // 2) ** 2) + 1
    found = expected_frequency(wave(cycles, *size), rank=False, reduce="sum")
    assert found.profile.shape == (1, rings)
    assert found.frequency.item() == pytest.approx(cycles / (rings - 1), rel=1e-9)
    mean = expected_frequency(wave(cycles, *size), rank=False)
    assert mean.frequency.item() == pytest.approx(cycles / (rings - 1) / rings, rel=1e-9)
    shifted = normalised_expected_frequency(wave(cycles, *size) - 3, rank=False)
    assert shifted.frequency.item() == pytest.approx(cycles / (rings - 1), rel=1e-9)


def test_a_checkerboard_is_the_last_ring() -> None:
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    board = (1.0 - 2 * ((y + x) % 2))[None]
    assert expected_frequency(board, rank=False, reduce="sum").frequency.item() == pytest.approx(1, rel=1e-12)
    assert normalised_expected_frequency(board).frequency.item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1e20])
@pytest.mark.parametrize("options", [{}, {"rank": False}, {"rank": False, "remove_dc": True}, {"reduce": "sum"}])
def test_a_constant_map_has_none(value: float, options: dict[str, Any]) -> None:
    maps = torch.full((2, 7, 9), value)
    found = expected_frequency(maps, **options)
    assert found.frequency.tolist() == [0.0, 0.0]
    assert found.flat == 2
    assert "2 of them are constant" in str(found)
    normalised = normalised_expected_frequency(maps, rank=options.get("rank", True))
    assert normalised.frequency.tolist() == [0.0, 0.0]


def test_a_single_pixel_has_none() -> None:
    assert expected_frequency(torch.ones(3, 1, 1)).frequency.tolist() == [0.0] * 3


@pytest.mark.parametrize("side", [32, 64])
def test_white_noise_is_what_follows_from_the_variance_of_ranks(side: int, generator: torch.Generator) -> None:
    """Ring 0 has (n + 1)²/4 and every other coefficient about n/12; of rings with equal power, f is one half."""
    n, rings = side**2, math.isqrt(2 * (side // 2) ** 2) + 1
    found = expected_frequency(torch.randn(100, side, side, generator=generator))
    expected = 0.5 * (n / 12) / ((n + 1) ** 2 / 4 + rings * n / 12)
    assert found.mean.value == pytest.approx(expected, rel=0.02)
    assert found.mean.value == pytest.approx(1 / (6 * n), rel=0.03)
    assert normalised_expected_frequency(torch.randn(100, side, side, generator=generator)).mean.value == pytest.approx(
        sum(f / (rings - 1) for f in range(rings)) / (rings - 1), rel=0.02
    )


def test_blurred_noise_has_less(generator: torch.Generator) -> None:
    noise = torch.randn(5, 1, 34, 34, generator=generator)
    blurred = nn.functional.avg_pool2d(noise, 3, stride=1)
    for measure in (expected_frequency, normalised_expected_frequency):
        assert (measure(blurred).frequency < measure(noise[..., 1:-1, 1:-1]).frequency).all()


# Invariances


def test_any_increasing_function_of_the_map_has_the_same_number(generator: torch.Generator) -> None:
    maps = torch.randn(4, 9, 9, generator=generator, dtype=torch.float64)
    for measure in (expected_frequency, normalised_expected_frequency):
        plain = measure(maps).frequency
        for function in (torch.exp, torch.atan, lambda x: x**3, lambda x: 5 * x - 100):
            assert torch.equal(measure(function(maps)).frequency, plain)


def test_turning_and_mirroring_a_square_map_changes_nothing(generator: torch.Generator) -> None:
    maps = torch.randn(4, 8, 8, generator=generator, dtype=torch.float64)
    plain = expected_frequency(maps).frequency
    for turned in (maps.mT, maps.flip(1), maps.flip(2), maps.rot90(1, (1, 2)), maps.roll((3, 2), (1, 2))):
        torch.testing.assert_close(expected_frequency(turned).frequency, plain, rtol=1e-12, atol=0)


def test_without_ranks_a_multiple_has_the_same_number(generator: torch.Generator) -> None:
    maps = torch.randn(4, 8, 8, generator=generator, dtype=torch.float64)
    plain = expected_frequency(maps, rank=False).frequency
    torch.testing.assert_close(expected_frequency(-1e-6 * maps, rank=False).frequency, plain)


def test_of_a_linear_model_the_number_does_not_depend_on_the_input(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    target = torch.full((6,), 2)
    maps = attribute(model, torch.randn(6, 3, 8, 8, generator=generator), target).maps
    assert len(expected_frequency(maps).frequency.unique()) == 1


# The slow twin


@pytest.mark.parametrize("size", [(5, 5), (6, 4), (4, 7)])
@pytest.mark.parametrize("rank", [False, True])
@pytest.mark.parametrize("remove_dc", [False, True])
@pytest.mark.parametrize("ring", ["mean", "sum"])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_the_definition_one_coefficient_at_a_time(
    size: tuple[int, int], rank: bool, remove_dc: bool, ring: str, reduce: str, generator: torch.Generator
) -> None:
    maps = torch.randn(2, *size, generator=generator, dtype=torch.float64).round(decimals=1)  # with ties
    options: Any = {"rank": rank, "remove_dc": remove_dc, "ring": ring, "reduce": reduce}
    found = expected_frequency(maps, **options).frequency.tolist()
    assert found == pytest.approx([oracle.expected_frequency(m.tolist(), **options) for m in maps], rel=1e-9)
    if remove_dc and reduce == "sum":
        normalised = normalised_expected_frequency(maps, rank=rank, ring=ring)  # type: ignore[arg-type]
        assert normalised.frequency.tolist() == found


# Records


def test_the_record_becomes_json_words_and_a_chart(generator: torch.Generator) -> None:
    maps = torch.randn(5, 8, 8, generator=generator)
    found = expected_frequency(maps)
    table = json.loads(json.dumps(found.to_dict()))
    assert table["frequency"] == found.frequency.tolist()
    assert len(table["profile"]) == 5
    assert table["frequencies"][0] == 0
    assert table["frequencies"][-1] == 1
    assert found.mean.value == pytest.approx(found.frequency.mean().item())
    assert str(found).startswith("expected frequency of 5 maps: mean")
    assert str(normalised_expected_frequency(maps)).startswith("normalised expected frequency of 5 maps")
    one = expected_frequency(maps[:1])
    assert (one.mean.low, one.mean.high) == (-math.inf, math.inf)
    pytest.importorskip("altair")
    rows = found.plot().to_dict()["data"]["values"]
    assert [row["power"] for row in rows] == pytest.approx(found.profile.mean(dim=0)[1:].tolist())
    assert expected_frequency(torch.zeros(1, 4, 4)).plot().to_dict()["data"]["values"] == []


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (2, 0, 4), (1, 1, 2, 3, 3)])
def test_what_is_no_batch_of_maps_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"maps must have shape \(N, H, W\) or \(N, channels, H, W\)"):
        expected_frequency(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_radius": 6}, r"max_radius must lie in \[0, 5\] for maps of 8x8, got 6"),
        ({"max_radius": -1}, "max_radius must lie in"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], words: str) -> None:
    for measure in (expected_frequency, normalised_expected_frequency):
        with pytest.raises(ValueError, match=words):
            measure(torch.zeros(2, 8, 8), **options)


@pytest.mark.parametrize("options", [{"ring": "median"}, {"reduce": "max"}])
def test_unknown_words_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        expected_frequency(torch.zeros(2, 8, 8), **options)


def test_holes_and_integers_are_refused() -> None:
    maps = torch.zeros(3, 4, 4)
    maps[1, 2, 2] = math.nan
    with pytest.raises(ValueError, match="maps must be finite, but map 1 is not"):
        expected_frequency(maps)
    with pytest.raises(TypeError):
        expected_frequency(torch.zeros(3, 4, 4, dtype=torch.int64))

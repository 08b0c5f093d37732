import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.transform import transformed
from scipy.stats import chisquare

from trueline.contracts import facts_of
from trueline.data import Draws, Transform

NOTHING = Draws(None, None, None, None)
PLAIN = Transform(mean=(0.0,), std=(1.0,))


def images(size: int, channels: int, height: int, width: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (size, channels, height, width), generator=generator)
    return values.to(dtype)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
    pad=st.integers(0, 3),
    flip=st.booleans(),
    cutout=st.integers(0, 8),
    noise=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 1000),
)
def test_equals_the_loop_over_pixels(shape, dtype, pad, flip, cutout, noise, seed) -> None:
    means, stds = (0.1, 0.5, -0.2)[: shape[1]], (0.3, 1.0, 2.0)[: shape[1]]
    transform = Transform(means, stds, pad=pad, flip=flip, cutout=cutout, noise=noise)
    inputs = images(*shape, dtype, seed)
    before = inputs.clone()
    draws = transform.draw(shape[0], shape[1:], generator=torch.Generator().manual_seed(seed))
    result = transform.apply(inputs, draws, value_range=200.0)
    torch.testing.assert_close(result.double(), transformed(transform, inputs, draws, 200.0), rtol=1e-5, atol=1e-4)
    assert torch.equal(inputs, before)
    assert result.is_contiguous()


def test_the_middle_corner_without_mirror_changes_nothing() -> None:
    inputs = images(4, 2, 5, 6, torch.uint8, 0)
    plain = Transform((0.2, 0.3), (0.5, 0.6))
    moving = Transform((0.2, 0.3), (0.5, 0.6), pad=3, flip=True)
    still = Draws(torch.full((4, 2), 3), torch.zeros(4, dtype=torch.bool), None, None)
    assert torch.equal(moving.apply(inputs, still), plain.apply(inputs, NOTHING))


def test_padding_is_black_before_normalising() -> None:
    transform = Transform((0.25,), (0.5,), pad=2)
    corner = Draws(torch.tensor([[0, 0]]), None, None, None)
    result = transform.apply(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), corner)
    assert result.flatten().tolist() == [-0.5] * 4


def test_mirroring_twice_changes_nothing() -> None:
    transform = Transform((0.0,), (1.0,), flip=True)
    all_flipped = NOTHING._replace(flipped=torch.ones(3, dtype=torch.bool))
    inputs = images(3, 1, 4, 5, torch.float32, 0)
    assert torch.equal(transform.apply(transform.apply(inputs, all_flipped), all_flipped), inputs)


def test_the_cutout_is_clipped_at_the_border_and_holds_the_mean() -> None:
    transform = Transform((0.2,), (0.5,), cutout=4)
    ones = torch.ones(2, 1, 6, 6)
    result = transform.apply(ones, NOTHING._replace(hole=torch.tensor([[3, 3], [0, 0]])))
    assert (result == 0).flatten(1).sum(dim=1).tolist() == [16, 4]
    assert (result[0, 0, 1:5, 1:5] == 0).all()
    assert (result[1, 0, :2, :2] == 0).all()


def test_every_choice_is_equally_likely(generator) -> None:
    draws = Transform((0.0,), (1.0,), pad=2, flip=True, cutout=3, noise=1.0).draw(
        20_000, (1, 4, 6), generator=generator
    )
    assert draws.corner is not None
    assert draws.flipped is not None
    assert draws.hole is not None
    assert draws.noise is not None
    assert chisquare((draws.corner[:, 0] * 5 + draws.corner[:, 1]).bincount(minlength=25)).pvalue > 1e-3
    assert chisquare(draws.flipped.long().bincount(minlength=2)).pvalue > 1e-3
    assert chisquare((draws.hole[:, 0] * 6 + draws.hole[:, 1]).bincount(minlength=24)).pvalue > 1e-3
    assert abs(draws.noise.mean().item()) < 5 / 480_000**0.5
    assert abs(draws.noise.std().item() - 1) < 5 / (2 * 480_000) ** 0.5


def test_vectors_are_normalised_feature_by_feature(generator) -> None:
    transform = Transform((1.0, 2.0), (2.0, 4.0), noise=0.1)
    inputs = torch.tensor([[1.0, 6.0]])
    draws = transform.draw(1, (2,), generator=generator)
    assert draws.noise is not None
    torch.testing.assert_close(transform.apply(inputs, draws), torch.tensor([[0.0, 1.0]]) + 0.1 * draws.noise)


def test_only_bytes_are_divided_by_the_value_range() -> None:
    assert PLAIN.apply(torch.tensor([[8]], dtype=torch.uint8), NOTHING, value_range=16.0).item() == 0.5
    assert PLAIN.apply(torch.tensor([[8.0]]), NOTHING, value_range=16.0).item() == 8.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": ()}, "mean and std need one value per channel, got 0 and 1 values"),
        ({"std": (1.0, 1.0)}, "mean and std need one value per channel, got 1 and 2 values"),
        ({"std": (0.0,)}, r"std must be finite and above 0, got \(0.0,\); use 1 for a constant channel"),
        ({"mean": (float("nan"),)}, "mean must be finite"),
        ({"pad": -1}, "pad must be at least 0 and finite, got -1"),
        ({"cutout": -1}, "cutout must be at least 0 and finite, got -1"),
        ({"noise": float("inf")}, "noise must be at least 0 and finite, got inf"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Transform(**({"mean": (0.0,), "std": (1.0,)} | options))


def test_a_shape_that_does_not_fit_is_named(generator) -> None:
    with pytest.raises(ValueError, match=r"pad, flip and cutout need inputs of shape \(C, H, W\), got \(1,\)"):
        Transform((0.0,), (1.0,), flip=True).draw(2, (1,), generator=generator)
    with pytest.raises(ValueError, match=r"mean and std have 1 channels, but inputs have shape \(3, 2, 2\)"):
        PLAIN.apply(torch.zeros(1, 3, 2, 2), NOTHING)


def test_cutout_is_cited() -> None:
    assert facts_of(PLAIN).references[0].arxiv == "1708.04552"

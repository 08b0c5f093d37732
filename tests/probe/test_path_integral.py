"""Means along paths: constants, linear quantities, subdivision, paths without length."""

import pytest
import torch

from trueline.probe._path_integral import path_integral, path_profile


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_constant_is_its_own_mean() -> None:
    constant = torch.full((3, 4, 6), 2.5, dtype=torch.float64)
    torch.testing.assert_close(path_profile(constant, drawn(3, 4, 5)), constant)


def test_a_quantity_linear_in_the_length_is_integrated_exactly() -> None:
    """``m = a + b·s`` has the mean ``a + b·S/2`` up to the length S."""
    lengths = drawn(7, 5)
    travelled = torch.cat([torch.zeros(7, 1), lengths.cumsum(dim=1)], dim=1)
    torch.testing.assert_close(path_profile(3 - 2 * travelled, lengths), 3 - travelled)
    torch.testing.assert_close(path_integral(3 - 2 * travelled, lengths), 3 - travelled[:, -1])


def test_a_midpoint_where_the_quantity_is_linear_changes_nothing() -> None:
    values, lengths = drawn(5, 4), drawn(5, 3, seed=1)
    between = (values[:, 1:2] + values[:, 2:3]) / 2
    finer = torch.cat([values[:, :2], between, values[:, 2:]], dim=1)
    halves = torch.cat([lengths[:, :1], lengths[:, 1:2] / 2, lengths[:, 1:2] / 2, lengths[:, 2:]], dim=1)
    torch.testing.assert_close(path_integral(finer, halves), path_integral(values, lengths))


def test_the_unit_of_length_and_the_direction_do_not_matter() -> None:
    values, lengths = drawn(5, 4), drawn(5, 3, seed=1)
    whole = path_integral(values, lengths)
    torch.testing.assert_close(path_integral(values, 1e-6 * lengths), whole)
    torch.testing.assert_close(path_integral(values.flip(1), lengths.flip(1)), whole)


def test_one_segment_gives_the_mean_of_its_ends_whatever_its_length() -> None:
    values = torch.tensor([[1.0, 4.0], [1.0, 4.0]])
    assert path_integral(values, torch.tensor([[0.1], [100.0]])).tolist() == pytest.approx([2.5, 2.5])


def test_a_path_without_length_has_the_value_at_its_beginning() -> None:
    values = torch.tensor([5.0, 7.0, 9.0])
    assert path_profile(values, torch.zeros(2)).tolist() == [5, 5, 5]
    assert path_profile(values, torch.tensor([0.0, 1.0])).tolist() == [5, 5, 8]
    assert path_profile(values[:1], torch.zeros(0)).tolist() == [5]


def test_the_profile_holds_the_integral_of_every_beginning() -> None:
    values, lengths = drawn(2, 3, 6), drawn(2, 3, 5, seed=1)
    profile = path_profile(values, lengths)
    for a in range(6):
        torch.testing.assert_close(profile[..., a], path_integral(values[..., : a + 1], lengths[..., :a]))


@pytest.mark.parametrize(
    ("values", "lengths", "words"),
    [
        (torch.zeros(3), torch.zeros(3), "need lengths"),
        (torch.zeros(0), torch.zeros(0), "A >= 1"),
        (torch.tensor([0.0, float("nan")]), torch.ones(1), "values along a path must be finite"),
        (torch.zeros(2), torch.tensor([-1.0]), "lengths of the segments"),
        (torch.zeros(2), torch.tensor([float("inf")]), "lengths of the segments"),
    ],
)
def test_what_does_not_fit_is_refused(values: torch.Tensor, lengths: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        path_profile(values, lengths)

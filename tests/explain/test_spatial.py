"""Where tokens are in an image."""

import pytest
import torch

from trueline.explain._spatial import as_spatial, token_grid, upsampled


@pytest.mark.parametrize(
    ("tokens", "height", "width", "grid"),
    [
        (64, 32, 32, (8, 8, 0)), (65, 32, 32, (8, 8, 1)), (197, 224, 224, (14, 14, 1)), (6, 12, 8, (3, 2, 0)),
        (7, 12, 8, (3, 2, 1)), (49, 30, 30, (7, 7, 0)), (64, 33, 32, (8, 8, 0)), (25, 12, 8, (6, 4, 1)),
        (198, 224, 224, None), (1, 8, 8, None), (2, 8, 8, None), (7, 8, 8, None),
    ],
)  # fmt: skip
def test_tokens_are_patches_after_at_most_one_class_token(
    tokens: int, height: int, width: int, grid: tuple[int, int, int] | None
) -> None:
    assert token_grid(tokens, height, width) == grid


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("before", [0, 1])
def test_every_grid_of_square_patches_is_found(side: int, before: int) -> None:
    for rows, columns in ((2, 2), (3, 2), (4, 8), (5, 5)):
        assert token_grid(rows * columns + before, rows * side, columns * side) == (rows, columns, before)


def test_tokens_are_laid_out_in_reading_order() -> None:
    tokens = torch.arange(7.0)[None, :, None].expand(2, 7, 5)
    found = as_spatial(tokens, torch.zeros(2, 3, 12, 8))
    assert found is not None
    assert found.shape == (2, 5, 3, 2)
    assert found[0, 0].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_what_has_no_places_is_told() -> None:
    images = torch.zeros(2, 3, 8, 8)
    for values in (torch.zeros(2, 5, 1, 1), torch.zeros(2, 5), torch.zeros(2, 7, 5), torch.zeros(4, 5, 8, 8)):
        assert as_spatial(values, images) is None
    assert as_spatial(torch.zeros(2, 4, 5), torch.zeros(2, 8)) is None


def test_interpolation_keeps_constants_and_is_exact_inside_of_planes() -> None:
    images = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(upsampled(torch.full((1, 4, 4), 3.0), images), torch.full((1, 16, 16), 3.0))
    found = upsampled(torch.arange(4.0).expand(1, 4, 4).double(), images)[0, 0]
    inside = (torch.arange(16, dtype=torch.float64)[2:-2] + 0.5) / 4 - 0.5  # cell centres are whole numbers
    torch.testing.assert_close(found[2:-2], inside)

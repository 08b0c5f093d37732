"""Erased singular values: windows, ranks, lengths in closed form."""

import numpy as np
import pytest
import torch
from oracles import smooth_interpolation as oracle

from trueline.probe._svd_path import SVDPath


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_to_erase_nothing_gives_the_image_back() -> None:
    x = images(3, 2, 5, 7)
    for anchor in SVDPath((0,), 3).walk(x):
        torch.testing.assert_close(anchor, x)


def test_to_erase_everything_gives_black() -> None:
    x = images(3, 2, 5, 7)
    (anchor,) = SVDPath((5,), 1).walk(x)
    assert torch.equal(anchor, torch.zeros_like(x))


@pytest.mark.parametrize("direction", [0, 1, 3])
def test_the_window_slides_towards_the_large_values(direction: int) -> None:
    x = images(2, 3, 8, 8)
    anchors = SVDPath((2, 5), direction + 1).stacked(x)[:, direction]
    singular = torch.linalg.svdvals(x)
    for place, strength in ((1, 2), (2, 5)):
        kept = torch.cat([singular[..., : 8 - strength - direction], singular[..., 8 - direction :]], dim=-1)
        left = torch.linalg.svdvals(anchors[:, place])
        torch.testing.assert_close(left[..., : 8 - strength], kept)
        assert left[..., 8 - strength :].max() < 1e-12


def test_the_distance_from_the_image_is_that_of_the_erased_values() -> None:
    """``‖x - x_s‖² = Σ σ²`` over what is erased, and the same between consecutive anchors of direction 0."""
    x = images(4, 3, 8, 8)
    anchors = SVDPath((2, 5), 1).stacked(x)[:, 0]
    squares = torch.linalg.svdvals(x).square()
    first, second = (squares[..., 6:].sum(dim=(1, 2)), squares[..., 3:6].sum(dim=(1, 2)))
    torch.testing.assert_close((anchors[:, 1] - x).square().sum(dim=(1, 2, 3)), first)
    torch.testing.assert_close((anchors[:, 2] - anchors[:, 1]).square().sum(dim=(1, 2, 3)), second)


def test_images_of_low_rank_lose_nothing_at_first() -> None:
    x = (images(2, 1, 8, 1) @ images(2, 1, 1, 8, seed=1)).float()
    for anchor in SVDPath((3, 7), 1).walk(x):
        torch.testing.assert_close(anchor, x)


def test_the_slow_twin_adds_what_is_kept() -> None:
    x = images(2, 3, 7, 9)
    stacked = SVDPath((1, 2, 4), 4).stacked(x).numpy()
    for n in range(2):
        for k in range(4):
            slow = oracle.svd_anchors(x[n].numpy(), (1, 2, 4), k)
            np.testing.assert_allclose(stacked[n, k], np.stack(slow), rtol=0, atol=1e-13)


def test_the_published_strengths_fit_32_pixels_in_eight_directions() -> None:
    assert len(list(SVDPath(directions=8).walk(images(1, 1, 32, 32)))) == 48


def test_too_few_singular_values_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 8x8 have 8 singular values, too few to erase 25 in 4 directions"):
        SVDPath().walk(images(1, 1, 8, 8))
    with pytest.raises(ValueError, match="which takes 33"):
        SVDPath(directions=9).walk(images(1, 1, 32, 40))
    with pytest.raises((ValueError, TypeError)):
        SVDPath((1.5,))
    with pytest.raises((ValueError, TypeError)):
        SVDPath((1,)).walk(images(4, 8))

"""Maps as pictures: signs, the saturated colour, and maps without anything in them."""

import pytest
import torch

from trueline.explaining import map_picture

ORANGE, BLUE, WHITE = ([217, 101, 26], [42, 134, 196], [250, 250, 250])


def test_signs_are_orange_and_blue_and_zero_is_white() -> None:
    picture = map_picture(torch.tensor([[2.0, -2.0], [0.0, 1.0]]))
    assert picture.shape == (3, 2, 2)
    assert [picture[:, 0, 0].tolist(), picture[:, 0, 1].tolist(), picture[:, 1, 0].tolist()] == [ORANGE, BLUE, WHITE]
    half = picture[:, 1, 1].double()
    assert torch.allclose(half, (torch.tensor(ORANGE) + torch.tensor(WHITE)).double() / 2, atol=1)


def test_the_scale_of_a_map_does_not_matter(generator: torch.Generator) -> None:
    values = torch.randn(8, 8, generator=generator)
    assert torch.equal(map_picture(values), map_picture(1000 * values))
    swapped = map_picture(-values)
    assert not torch.equal(map_picture(values), swapped)


def test_an_outlier_does_not_make_the_rest_white() -> None:
    values = torch.ones(20, 20)
    values[0, 0] = 1e6
    assert map_picture(values)[:, 5, 5].tolist() == ORANGE


@pytest.mark.parametrize("values", [torch.zeros(3, 4), torch.zeros(1, 1)])
def test_an_empty_map_is_white(values: torch.Tensor) -> None:
    assert set(map_picture(values).flatten().tolist()) == {250}


def test_a_single_spot_is_seen_where_the_quantile_is_zero() -> None:
    values = torch.zeros(20, 20)
    values[3, 4] = 5.0
    assert map_picture(values)[:, 3, 4].tolist() == ORANGE

"""The Square Attack: its squares by the definition, its schedule, and that it needs logits only."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from trueline.robustness import square_attack
from trueline.robustness._ball import BALLS
from trueline.robustness._losses import margin
from trueline.robustness._square import _side
from trueline.robustness._square_steps import SQUARES, _double_bump


def bump_by_hand(height: int, width: int) -> list[list[float]]:
    """Nested rectangles that grow by one pixel on every side, the k-th adding 1/k²."""
    rows = [[0.0] * width for _ in range(height)]
    for k in range(max(height // 2, width // 2) + 1):
        for i in range(height):
            for j in range(width):
                if abs(i - height // 2) <= k and abs(j - width // 2) <= k:
                    rows[i][j] += 1 / (k + 1) ** 2
    length = math.sqrt(sum(value**2 for row in rows for value in row))
    return [[value / length for value in row] for row in rows]


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7, 16])
def test_two_bumps_of_opposite_sign(side: int) -> None:
    upper = bump_by_hand(side // 2, side) if side > 1 else []
    both = torch.tensor(upper + [[-v for v in row] for row in bump_by_hand(side - side // 2, side)]).double()
    found = _double_bump(side, both)
    torch.testing.assert_close(found, both / both.norm(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("queries", [100, 5000, 10_000])
def test_squares_shrink_as_published(queries: int) -> None:
    sides = [_side(query, queries, 32, 32) for query in range(queries)]
    assert all(after <= before for before, after in pairwise(sides))
    assert sides[0] == round(math.sqrt(0.8 * 32 * 32))
    assert sides[-1] == round(math.sqrt(0.8 / 512 * 32 * 32))
    published = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # the last queries of ten thousand with a size
    for query, side in enumerate(sides):
        halvings = sum(query * 10_000 // queries > last for last in published)
        assert side == round(math.sqrt(0.8 / 2**halvings * 32 * 32))


def test_stripes_and_squares_have_one_sign_a_channel(generator: torch.Generator) -> None:
    centre = torch.full((200, 2, 6, 8), 0.5, dtype=torch.float64)
    ball = BALLS["linf"](centre, 0.25)
    squares = SQUARES["linf"](generator)
    stripes = squares.start(ball)
    assert set(stripes.unique().tolist()) == {0.25, 0.75}
    assert (stripes == stripes[:, :, :1]).all()
    assert not (stripes == stripes[:, :, :, :1]).all(dim=3).all()
    corners = set()
    for image, moved in zip(centre, squares.step(ball, centre, 3), strict=True):
        changed = moved != image
        rows, columns = (changed.any(dim=0).any(dim=axis).nonzero().squeeze(1) for axis in (1, 0))
        assert rows.tolist() == list(range(int(rows[0]), int(rows[0]) + 3))
        assert columns.tolist() == list(range(int(columns[0]), int(columns[0]) + 3))
        for channel, mask in zip(moved, changed, strict=True):
            assert int(mask.sum()) == 9
            assert len(channel[mask].unique()) == 1
        corners.add((int(rows[0]), int(columns[0])))
    assert len(corners) == 4 * 6  # every place inside the image


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 15, 15), (2, 3, 9, 14), (2, 2, 3, 2)])
def test_bumps_use_the_whole_radius_whatever_the_shape(shape: tuple[int, ...], generator: torch.Generator) -> None:
    centre = torch.full(shape, 0.5, dtype=torch.float64)
    ball = BALLS["l2"](centre, 0.3)
    squares = SQUARES["l2"](generator)
    points = squares.start(ball)
    assert ball.distance(points).tolist() == pytest.approx([0.3] * 2, rel=1e-9)
    for side in (1, 3, 4, 100):
        points = squares.step(ball, points, side)
        assert ball.distance(points).tolist() == pytest.approx([0.3] * 2, rel=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_pixel_is_an_image(norm: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    model[1].weight.data, model[1].bias.data = torch.tensor([[1.0], [-1.0]]), torch.tensor([-0.5, 0.5])
    pixel, label = torch.full((1, 1, 1, 1), 0.6), torch.tensor([0])
    assert model(square_attack(model, pixel, label, norm=norm, radius=0.2, queries=20)).argmax(dim=1) == 1


def test_length_moves_from_one_square_to_another(generator: torch.Generator) -> None:
    centre = torch.full((50, 1, 16, 16), 0.5, dtype=torch.float64)
    ball = BALLS["l2"](centre, 0.3)
    squares = SQUARES["l2"](generator)
    before = squares.start(ball)
    after = squares.step(ball, before, 3)
    changed = ((after - before).abs() > 1e-12).flatten(1).sum(dim=1)
    assert (changed <= 2 * 9).all()
    assert (changed >= 9 - 1).all()
    emptied = ((before != centre) & (after == centre)).flatten(1).sum(dim=1)
    assert (emptied > 0).double().mean() > 0.8


def test_each_query_changes_a_square_of_the_best_point_so_far(
    digits_network: tuple[nn.Module, Tensor, Tensor],
) -> None:
    network, images, labels = digits_network
    asked: list[Tensor] = []

    class Recorder(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            asked.append(inputs.clone())
            return network(inputs)

    square_attack(Recorder(), images[:1], labels[:1], radius=0.01, queries=200)
    best, lowest = asked[1], margin(network(asked[1]), labels[:1])
    for query, point in enumerate(asked[2:]):
        rows, columns = ((point != best)[0, 0].any(dim=axis).nonzero() for axis in (1, 0))
        side = max(_side(query, 200, 8, 8), 1)
        assert all(len(place) == 0 or int(place[-1] - place[0]) < side for place in (rows, columns))
        found = margin(network(point), labels[:1])
        if found < lowest:
            best, lowest = point, found
    assert len(asked) == 201
    assert lowest < margin(network(asked[1]), labels[:1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_queries_find_more(norm: str, digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    radius = {"linf": 0.08, "l2": 0.5}[norm]
    right = [
        int(
            (model(square_attack(model, images, labels, norm=norm, radius=radius, queries=q)).argmax(1) == labels).sum()
        )
        for q in (1, 30, 300)
    ]
    assert right[2] < right[1] < right[0]


def test_no_gradient_is_taken(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, images, labels = digits_network

    class NoGradient(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            return network(inputs)

    square_attack(NoGradient(), images[:5], labels[:5], radius=0.1, queries=5)


@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 8), (2, 1, 2, 4, 4)])
def test_what_has_no_squares_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images \(B, C, H, W\), got .*attacks=\('apgd_ce', 'apgd_dlr_targeted'\)"):
        square_attack(nn.Flatten(), torch.zeros(shape), torch.zeros(2).long(), radius=0.1)

import pytest
import torch
from torch import Tensor, nn

from trueline.recipes._attribution_attack import attribution, top_k, worst_intersection
from trueline.recipes._relu_network import relu_network
from trueline.steer import steer

OPTIONS = {"k": 3, "radius": 0.2, "step_size": 0.05, "steps": 8}


class Quadratic(nn.Module):
    """Logits ``(Σ a_i·x_i²/2, -10)``, whose first has the gradient ``a·x``."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        score = (self.scale * x.square()).sum(dim=1) / 2
        return torch.stack([score, torch.full_like(score, -10.0)], dim=1)


def test_attribution_is_the_size_of_the_gradient_of_the_chosen_logit() -> None:
    scale, inputs = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([[0.5, 0.5, 0.1], [0.2, 0.4, 0.6]])
    model = Quadratic(scale)
    torch.testing.assert_close(attribution(model, inputs, torch.zeros(2, dtype=torch.int64)), (scale * inputs).abs())
    assert not attribution(model, inputs, torch.ones(2, dtype=torch.int64)).any()
    assert not inputs.requires_grad


def test_top_k_marks_the_largest() -> None:
    marks = top_k(torch.tensor([[1.0, 5.0, 3.0, 2.0]]), 2)
    assert marks.tolist() == [[False, True, True, False]]


def test_a_linear_network_cannot_be_fooled(generator: torch.Generator) -> None:
    model = nn.Linear(6, 3)
    inputs = torch.rand(5, 6, generator=generator)
    guide = steer(relu_network((6, 8, 3), 0), 0.8, mix=0.0, example=inputs)
    assert worst_intersection(model, inputs, guides=[guide], **OPTIONS).tolist() == [1.0] * 5


def test_entries_within_reach_are_exchanged() -> None:
    # The gradient is x itself: within 0.2 the entries 0.5 and 0.45 fall below 0.4, and 0.9 stays the largest.
    inputs = torch.tensor([[0.9, 0.5, 0.45, 0.4, 0.39]])
    model = Quadratic(torch.ones(5))
    assert worst_intersection(model, inputs, guides=[model], **OPTIONS).item() == pytest.approx(1 / 3)


def test_the_cube_around_the_input_is_not_left() -> None:
    # 0.5 to 0.3 and 0.08 to 0.28: the first three stay the first three, but would not with a larger radius.
    inputs = torch.tensor([[0.9, 0.6, 0.5, 0.08, 0.05]])
    model = Quadratic(torch.ones(5))
    assert worst_intersection(model, inputs, guides=[model], **OPTIONS).item() == 1
    assert worst_intersection(model, inputs, guides=[model], **(OPTIONS | {"radius": 0.3})).item() < 1


def test_points_with_another_prediction_do_not_count() -> None:
    inputs = torch.tensor([[0.9, 0.5, 0.45, 0.4, 0.39]])

    class Jumpy(Quadratic):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where((x == inputs).all(dim=1, keepdim=True), 1.0, -1.0) * super().forward(x)

    model = Jumpy(torch.ones(5))
    assert worst_intersection(model, inputs, guides=[Quadratic(torch.ones(5))], **OPTIONS).item() == 1


def test_more_guides_never_help_the_network(generator: torch.Generator) -> None:
    model = relu_network((10, 20, 20, 4), 3).requires_grad_(False)
    inputs = torch.rand(30, 10, generator=generator)
    guides = [steer(model, beta, mix=0.0, example=inputs) for beta in (0.95, 0.8)]
    one, two = (worst_intersection(model, inputs, guides=part, **OPTIONS) for part in (guides[:1], guides))
    assert (two <= one).all()
    assert one.mean() < 1


def test_following_relu_itself_finds_next_to_nothing(generator: torch.Generator) -> None:
    # Between its folds its gradient has no slope, which is why the attack follows others.
    model = relu_network((10, 20, 20, 4), 3).requires_grad_(False)
    inputs = torch.rand(30, 10, generator=generator)
    assert worst_intersection(model, inputs, guides=[model], **OPTIONS).tolist() == [1.0] * 30

"""Input derivatives and their differences: linear and quadratic closed forms, displacements, scales."""

import pytest
import torch
from torch import nn

from trueline.probe._colour_jitter import ColourJitter, draw_colour_jitters
from trueline.probe._tangent_hessian import distances, input_jacobian, network_values, tangent_norm


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def jitters(count: int = 4) -> list[ColourJitter]:
    return draw_colour_jitters(count, torch.Generator().manual_seed(0))


def test_the_jacobian_of_a_linear_map_is_its_matrix() -> None:
    matrix, x = drawn(5, 27), drawn(4, 3, 3, 3, seed=1)
    found = input_jacobian(lambda images: images.flatten(1) @ matrix.T, x)
    torch.testing.assert_close(found, matrix.flatten().expand(4, -1))


def test_each_row_is_the_jacobian_of_its_own_image() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = drawn(5, 3, 2, 2)
    found = input_jacobian(net, x).view(5, 3, 12)
    for n in range(5):
        whole = torch.autograd.functional.jacobian(net, x[n : n + 1])
        torch.testing.assert_close(found[n], whole.reshape(3, 12))


def test_derivatives_in_the_unit_of_each_channel() -> None:
    """With ``x = s·z``, derivatives in z are s times those in x, and distances in z are those in x over s."""
    matrix, x = drawn(2, 8), drawn(3, 2, 2, 2, seed=1)
    scale = torch.tensor([2.0, 0.5], dtype=torch.float64).view(2, 1, 1)
    found = input_jacobian(lambda images: images.flatten(1) @ matrix.T, x, scale).view(3, 2, 2, 2, 2)
    torch.testing.assert_close(found[0], matrix.view(2, 2, 2, 2) * scale)
    other = x + 1
    torch.testing.assert_close(distances(x, other, scale), torch.full((3,), (4 * 0.25 + 4 * 4) ** 0.5).double())
    torch.testing.assert_close(distances(x, other), torch.full((3,), 8**0.5).double())


def test_half_precision_images_are_measured_in_double() -> None:
    x = torch.full((1, 1, 200, 200), 100.0, dtype=torch.float16)
    assert distances(x, torch.zeros_like(x)).item() == pytest.approx(100 * 200)


def test_the_tangent_hessian_of_squared_error_and_a_linear_map_is_its_closed_form() -> None:
    """``∇l(x) - ∇l(x') = W'W(x - x')`` for ``l = ½‖Wx - y‖²``."""
    matrix, target, x = drawn(5, 27), drawn(5, seed=2), drawn(4, 3, 3, 3, seed=1)

    def loss(images: torch.Tensor) -> torch.Tensor:
        return (images.flatten(1) @ matrix.T - target).square().sum(dim=1, keepdim=True) / 2

    for delta in (0.1, 0.01, None):
        found = tangent_norm(lambda images: input_jacobian(loss, images), x, jitters(), delta=delta)
        squares = torch.zeros(4, dtype=torch.float64)
        for jitter in jitters():
            gap = (x - jitter(x)).flatten(1)
            change = gap @ (matrix.T @ matrix)
            squares += change.square().sum(dim=1) / (gap.square().sum(dim=1) if delta is None else delta**2)
        torch.testing.assert_close(found, (squares / 4).sqrt())


def test_over_the_displacement_it_is_never_above_the_norm_of_the_hessian() -> None:
    matrix, x = drawn(5, 27), drawn(6, 3, 3, 3, seed=1)

    def loss(images: torch.Tensor) -> torch.Tensor:
        return (images.flatten(1) @ matrix.T).square().sum(dim=1, keepdim=True) / 2

    found = tangent_norm(lambda images: input_jacobian(loss, images), x, jitters(), delta=None)
    assert (found <= torch.linalg.matrix_norm(matrix, 2).square()).all()
    assert (found > 0).all()


def test_the_tangent_jacobian_of_a_linear_map_is_the_length_of_its_change() -> None:
    matrix, x = drawn(5, 27), drawn(4, 3, 3, 3, seed=1)
    found = tangent_norm(lambda images: images.flatten(1) @ matrix.T, x, jitters(1), delta=0.1)
    change = (jitters(1)[0](x) - x).flatten(1) @ matrix.T
    torch.testing.assert_close(found, 10 * change.norm(dim=1))


def test_constants_have_no_tangents() -> None:
    x = drawn(4, 3, 3, 3)
    assert tangent_norm(lambda images: torch.ones(len(images), 2), x, jitters()).tolist() == [0.0] * 4
    linear = nn.Sequential(nn.Flatten(), nn.Linear(27, 2)).double()
    assert tangent_norm(lambda images: input_jacobian(linear, images), x, jitters()).tolist() == [0.0] * 4


def test_jitters_that_do_not_move_an_image_are_left_out_where_the_displacement_divides() -> None:
    x = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    some = [ColourJitter(1, 1, 0.99), ColourJitter(1.01, 1, 1)]  # one channel has no saturation
    found = tangent_norm(lambda images: 3 * images.flatten(1), x, some, delta=None)
    assert found.tolist() == pytest.approx([0, 3], rel=1e-6)


def test_what_is_looked_at() -> None:
    logits, labels = drawn(4, 3), torch.tensor([0, 2, 1, 1])
    rows = torch.arange(4)
    assert torch.equal(network_values(logits, labels, "logits"), logits)
    torch.testing.assert_close(network_values(logits, labels, "probs"), logits.softmax(1))
    torch.testing.assert_close(network_values(logits, labels, "log_probs"), logits.log_softmax(1))
    torch.testing.assert_close(network_values(logits, labels, "target_logit")[:, 0], logits[rows, labels])
    torch.testing.assert_close(network_values(logits, labels, "loss")[:, 0], -logits.log_softmax(1)[rows, labels])


def test_one_number_of_two_classes() -> None:
    odds, labels = drawn(4), torch.tensor([0, 1, 1, 0])
    two = torch.stack([torch.zeros(4), odds], dim=1)
    for shape in (odds, odds[:, None]):
        for of in ("loss", "probs", "log_probs", "logits"):
            torch.testing.assert_close(network_values(shape, labels, of), network_values(two, labels, of))
        assert torch.equal(network_values(shape, labels, "target_logit")[:, 0], odds)


@pytest.mark.parametrize("of", ["loss", "logits", "probs", "log_probs", "target_logit"])
def test_labels_that_are_no_classes_are_refused(of: str) -> None:
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\]"):
        network_values(drawn(2, 3), torch.tensor([0, 3]), of)


def test_outputs_without_gradient_are_refused() -> None:
    for quantity in (lambda images: images.detach().flatten(1), lambda _: nn.Parameter(torch.zeros(2, 3))):
        with pytest.raises(ValueError, match="does not depend on its input in a differentiable way"):
            input_jacobian(quantity, drawn(2, 1, 2, 2))

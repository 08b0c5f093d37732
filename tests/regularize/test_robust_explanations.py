"""Penalties on how explanations change: their closed forms, their derivatives in the weights, and what they leave."""

from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.regularize._gradient_alignment import gradient_alignment_penalty
from trueline.regularize._input_hessian_penalty import input_hessian_penalty
from trueline.regularize._robust_attribution import robust_attribution_penalty
from trueline.regularize._smooth_surface import smooth_surface_penalty


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 7), nn.Softplus(beta=3), nn.Linear(7, 3)).double()


def both_terms(*args: Any, **options: Any) -> Tensor:
    return sum(gradient_alignment_penalty(*args, **options))


PENALTIES: dict[str, partial[Tensor]] = {
    "hessian": partial(input_hessian_penalty, draws=2),
    "surface": partial(smooth_surface_penalty, iterations=4),
    "attribution": partial(robust_attribution_penalty, radius=0.1, steps=2),
    "alignment": partial(both_terms, radius=0.1, draws=2),
}
ALL = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)


class Quadratic(nn.Module):
    """``½·xᵀAx + b·x`` as the log-odds of two classes."""

    def __init__(self, matrix: Tensor, slope: Tensor) -> None:
        super().__init__()
        self.matrix, self.slope = nn.Parameter(matrix), nn.Parameter(slope)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,ij,bj->b", x, self.matrix, x) / 2 + x @ self.slope


def symmetric(size: int) -> Tensor:
    root = drawn(size, size)
    return root + root.mT


# Closed forms


def test_the_hessian_penalty_is_the_mean_squared_eigenvalue_on_average() -> None:
    """``E_v ‖Av‖² = ‖A‖_F²/D``; of a multiple of the unit matrix it is exact for every direction."""
    matrix = symmetric(5)
    x, labels = drawn(3, 5), torch.tensor([0, 1, 1])
    found = input_hessian_penalty(
        Quadratic(matrix, drawn(5)), x, labels, of="logit", draws=4000, generator=source()
    ).detach()
    torch.testing.assert_close(found, matrix.square().sum().expand(3) / 5, rtol=0.05, atol=0)
    exact = input_hessian_penalty(Quadratic(3 * torch.eye(5).double(), drawn(5)), x, labels, generator=source())
    torch.testing.assert_close(exact.detach(), torch.full((3,), 9.0, dtype=torch.float64))


def test_the_surface_penalty_is_the_spectral_norm_and_its_derivative_that_of_the_eigenvalue() -> None:
    """``dλ/dA = vvᵀ``, with the sign of λ."""
    matrix = symmetric(5)
    values, vectors = torch.linalg.eigh(matrix)
    place = values.abs().argmax()
    model = Quadratic(matrix, drawn(5))
    found = smooth_surface_penalty(model, drawn(1, 5), torch.tensor([1]), of="logit", iterations=5, generator=source())
    assert found.item() == pytest.approx(values[place].abs().item())
    found.sum().backward()
    outer = torch.outer(vectors[:, place], vectors[:, place]) * values[place].sign()
    assert model.matrix.grad is not None
    torch.testing.assert_close(model.matrix.grad, outer)


def test_fewer_iterations_find_a_lower_bound() -> None:
    model, x, labels = network(), drawn(6, 4), torch.arange(6) % 3
    exact = []
    for row, label in zip(x, labels, strict=True):
        hessian = torch.autograd.functional.hessian(lambda r, c=label: F.cross_entropy(model(r[None]), c[None]), row)
        exact.append(torch.linalg.matrix_norm(hessian, 2))
    bound = torch.stack(exact)
    torch.testing.assert_close(smooth_surface_penalty(model, x, labels, generator=source()).detach(), bound)
    fewer = smooth_surface_penalty(model, x, labels, iterations=2, generator=source()).detach()
    assert (fewer <= bound * (1 + 1e-9)).all()
    assert (fewer < bound * (1 - 1e-6)).any()


def test_of_the_loss_of_a_linear_model_the_surface_is_that_of_the_softmax() -> None:
    """``∇² CE = Wᵀ(diag(p) - ppᵀ)W``, whatever the label."""
    layer = nn.Linear(4, 3).double()
    x = drawn(2, 4)
    shares = layer(x).softmax(dim=1)
    inner = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]
    expected = torch.linalg.matrix_norm(layer.weight.mT @ inner @ layer.weight, 2)
    for labels in ([0, 1], [2, 2]):
        found = smooth_surface_penalty(layer, x, torch.tensor(labels), generator=source())
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("steps", [1, 4])
def test_of_a_linear_function_the_attributions_change_by_the_radius_times_its_absolute_weights(steps: int) -> None:
    layer = nn.Linear(5, 3).double()
    labels = torch.tensor([2, 0])
    found = robust_attribution_penalty(
        layer, drawn(2, 5), labels, radius=0.2, of="logit", steps=steps, step_size=0.4, generator=source()
    )
    torch.testing.assert_close(found, 0.2 * layer.weight[labels].abs().sum(dim=1))


def test_bounds_take_away_what_they_cut_off() -> None:
    layer, inputs = nn.Linear(3, 2).double(), torch.tensor([[0.0, 0.5, 0.95]]).double()
    found = robust_attribution_penalty(
        layer, inputs, torch.tensor([1]), radius=0.2, of="logit", bounds=(0.0, 1.0), step_size=0.5, generator=source()
    )
    # Sign descent goes on to the side it began on: each entry ends at one of its two ends.
    ends = [(0.0, 0.2), (-0.2, 0.2), (-0.2, 0.05)]
    size = layer.weight[1].abs().tolist()
    possible = [sum(abs(move) * w for move, w in zip(moves, size, strict=True)) for moves in product(*ends)]
    assert min(abs(found.item() - value) for value in possible) < 1e-12


def test_the_attributions_change_by_no_less_than_the_function() -> None:
    """Completeness: the changes add up to ``f(x + δ) - f(x)``; exact with three nodes up to the sixth degree."""
    model = Quadratic(symmetric(4), drawn(4))
    x, labels = drawn(5, 4), torch.tensor([0, 1, 0, 1, 1])
    move = 0.3 * (2 * torch.rand(5, 4, generator=source(), dtype=torch.float64) - 1)
    found = robust_attribution_penalty(model, x, labels, radius=0.3, of="logit", steps=0, generator=source())
    parts = move * (x @ model.matrix + model.slope + move @ model.matrix / 2)
    torch.testing.assert_close(found, parts.abs().sum(dim=1))
    torch.testing.assert_close(parts.sum(dim=1), model(x + move) - model(x))


def test_the_search_finds_more_than_its_random_start() -> None:
    model, x, labels = network(), drawn(20, 4), torch.arange(20) % 3
    start, found = (
        robust_attribution_penalty(model, x, labels, radius=0.5, steps=steps, generator=source()) for steps in (0, 8)
    )
    assert (found >= start).all()
    assert (found > 1.2 * start).any()


def test_of_a_quadratic_function_the_gradient_moves_by_the_matrix() -> None:
    model, x, labels = Quadratic(symmetric(4), drawn(4)), drawn(3, 4), torch.tensor([0, 1, 0])
    move = 0.3 * (2 * torch.rand(3, 4, generator=source(), dtype=torch.float64) - 1)
    found = gradient_alignment_penalty(model, x, labels, radius=0.3, generator=source())
    own = x @ model.matrix + model.slope
    near = own + move @ model.matrix
    torch.testing.assert_close(found.distance, (near - own).square().sum(dim=1))
    torch.testing.assert_close(found.cosine, (1 - F.cosine_similarity(near, own)) / 2)


def test_only_the_cosine_is_the_same_for_multiples_of_the_function() -> None:
    model, x, labels = network(), drawn(6, 4), torch.arange(6) % 3
    before = gradient_alignment_penalty(model, x, labels, radius=0.3, generator=source())
    with torch.no_grad():
        model[2].weight *= 5
    after = gradient_alignment_penalty(model, x, labels, radius=0.3, generator=source())
    torch.testing.assert_close(after.cosine, before.cosine)
    torch.testing.assert_close(after.distance, 25 * before.distance)


def test_a_gradient_of_zero_has_no_direction() -> None:
    layer = nn.Linear(4, 3).double()
    nn.init.zeros_(layer.weight)
    terms = gradient_alignment_penalty(layer, drawn(2, 4), torch.tensor([0, 1]), radius=0.1, generator=source())
    assert terms.distance.tolist() == [0, 0]
    assert terms.cosine.tolist() == [0.5, 0.5]


@ALL
def test_a_linear_function_has_nothing_to_straighten(penalty: partial[Tensor]) -> None:
    found = penalty(nn.Linear(4, 3).double(), drawn(3, 4), torch.tensor([0, 1, 2]), of="logit", generator=source())
    if penalty is not PENALTIES["attribution"]:
        torch.testing.assert_close(found.detach(), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-15)


def test_the_logits_of_relu_are_flat_and_their_loss_is_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    x, labels = drawn(3, 4), torch.tensor([0, 1, 2])
    for penalty in (input_hessian_penalty, smooth_surface_penalty):
        assert (penalty(model, x, labels, of="logit", generator=source()) == 0).all()
        assert (penalty(model, x, labels, of="loss", generator=source()) > 0).all()


# Derivatives, samples, and what is left


@ALL
@pytest.mark.parametrize("of", ["loss", "logit"])
def test_the_derivative_in_the_weights_is_right(penalty: partial[Tensor], of: str) -> None:
    model, x, labels = network(), drawn(2, 4), torch.tensor([0, 2])
    names = [name for name, _ in model.named_parameters()]
    model.requires_grad_(False)

    def value(*weights: Tensor) -> Tensor:
        wrapped = Frozen(model, dict(zip(names, weights, strict=True)))
        return penalty(wrapped, x, labels, of=of, generator=source()).sum()

    weights = tuple(parameter.clone().requires_grad_() for parameter in model.parameters())
    found = torch.autograd.grad(value(*weights), weights, allow_unused=True, materialize_grads=True)
    step = 1e-6
    for seed in range(3):
        directions = [drawn(*weight.shape, seed=seed) for weight in weights]
        ahead, behind = (
            value(*(w.detach() + sign * step * d for w, d in zip(weights, directions, strict=True))).item()
            for sign in (1, -1)
        )
        slope = sum((g * d).sum().item() for g, d in zip(found, directions, strict=True))
        # The worst point and the eigenvector are held fixed; both are where the value is stationary, or at a corner.
        assert slope == pytest.approx((ahead - behind) / (2 * step), rel=2e-3, abs=1e-7)


class Frozen(nn.Module):
    """A module with other weights in the place of its own."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.inner, self.weights = model, weights

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.inner, self.weights, (x,))


@ALL
def test_a_sample_does_not_know_the_others(penalty: partial[Tensor]) -> None:
    if "draws" in (options := penalty.keywords):
        penalty = partial(penalty.func, **{**options, "draws": 1})  # the second draw of one sample is not that of three
    model, x, labels = network(), drawn(3, 4), torch.tensor([0, 2, 1])
    together = penalty(model, x, labels, generator=source())
    assert together.shape == (3,)
    alone = penalty(model, x[:1], labels[:1], generator=source())
    torch.testing.assert_close(alone[0], together[0])


@ALL
def test_the_model_and_the_random_state_are_left(penalty: partial[Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)),
        nn.Tanh(), nn.Linear(6, 3),
    ).double()  # fmt: skip
    model[1].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    x, labels, before = drawn(5, 4), torch.arange(5) % 3, torch.get_rng_state()
    penalty(model, x, labels, generator=source()).mean().backward()
    assert torch.equal(before, torch.get_rng_state())
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not x.requires_grad
    assert x.grad is None
    assert model[0].weight.grad is not None
    model.zero_grad()
    penalty(model, x, labels, generator=source())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="labels"):
        penalty(model, x, torch.tensor([0, 1, 2, 3, 4]), generator=source())
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@ALL
def test_dropout_draws_one_mask_for_all_passes(penalty: partial[Tensor]) -> None:
    """Of a linear function nothing changes between passes, unless the masks do."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3)).double()
    torch.manual_seed(3)
    found = penalty(model, drawn(8, 4), torch.arange(8) % 3, of="logit", generator=source())
    if penalty is PENALTIES["attribution"]:
        assert (found <= 2 * 0.1 * model[1].weight.abs().sum(dim=1).max()).all()
    else:
        kept = found[found < 0.49]  # where the mask leaves nothing the gradient is zero and has no direction
        torch.testing.assert_close(kept.detach(), torch.zeros_like(kept), rtol=0, atol=1e-12)


@ALL
def test_training_on_it_lowers_it(penalty: partial[Tensor]) -> None:
    model, x, labels = network(), drawn(32, 4), torch.arange(32) % 3
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    values = []
    for _ in range(30):
        value = penalty(model, x, labels, generator=source()).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.8 * values[0]


@ALL
def test_single_precision_and_one_number_for_two_classes(penalty: partial[Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    x, labels = drawn(3, 4).float(), torch.tensor([0, 1, 1])
    found = penalty(model, x, labels, generator=source())
    assert found.dtype == torch.float32
    assert found.isfinite().all()


@ALL
@pytest.mark.parametrize(
    ("model", "x", "labels", "words"),
    [
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), torch.ones(3, 4), [0, 1, 2], "takes its statistics from"),
        (nn.Linear(4, 3), torch.full((3, 4), torch.nan), [0, 1, 2], "inputs must be finite, but sample 0 is not"),
        (nn.Linear(4, 3), torch.ones(0, 4), [], r"inputs must have shape \(N, ...\) with N >= 1"),
        (nn.Linear(4, 3), torch.ones(3, 4), [0, 1, 3], r"labels must lie in \[0, 2\]"),
        (nn.Linear(4, 3), torch.ones(3, 4), [0, 1], "labels"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    penalty: partial[Tensor], model: nn.Module, x: Tensor, labels: list[int], words: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=words if len(labels) == len(x) else None):
        penalty(model, x, torch.tensor(labels, dtype=torch.int64), generator=source())


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()[:, :3]


@ALL
def test_models_that_give_nothing_to_follow_are_refused(penalty: partial[Tensor]) -> None:
    with pytest.raises(ValueError, match="do not depend on the inputs"):
        penalty(Detached(), torch.ones(2, 4), torch.tensor([0, 1]), generator=source())
    with pytest.raises(TypeError):
        penalty(nn.Linear(4, 3), torch.ones(2, 4, dtype=torch.int64), torch.tensor([0, 1]), generator=source())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(input_hessian_penalty, draws=0), "draws must be at least 1, got 0"),
        (partial(smooth_surface_penalty, iterations=0), "iterations must be at least 1, got 0"),
        (partial(robust_attribution_penalty, radius=0.0), "radius must be positive, got 0.0"),
        (partial(robust_attribution_penalty, radius=0.1, nodes=0), "nodes at least 1, got 5 and 0"),
        (partial(robust_attribution_penalty, radius=0.1, step_size=-1.0), "step_size must be positive, got -1.0"),
        (partial(robust_attribution_penalty, radius=0.1, bounds=(1.0, 0.0)), "lowest and the highest"),
        (partial(gradient_alignment_penalty, radius=-0.1), "radius must be positive, got -0.1"),
        (partial(gradient_alignment_penalty, radius=0.1, draws=0), "draws must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(nn.Linear(4, 3), torch.ones(2, 4), torch.tensor([0, 1]))


def test_without_a_generator_the_global_random_state_is_drawn_from() -> None:
    model, x, labels = network(), drawn(3, 4), torch.tensor([0, 1, 2])
    torch.manual_seed(5)
    first, second = (input_hessian_penalty(model, x, labels) for _ in range(2))
    torch.manual_seed(5)
    assert torch.equal(first, input_hessian_penalty(model, x, labels))
    assert not torch.equal(first, second)

"""The nuclear-norm penalty: the identity behind it, the noise estimate's mean and spread, and what it refuses."""

import math
from typing import Any

import pytest
import torch
from oracles import nuclear_norm as oracle
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from trueline.models import MLP
from trueline.regularize import jacobian_nuclear_norm_penalty


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(matrix: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, dtype=matrix.dtype)
    with torch.no_grad():
        layer.weight.copy_(matrix)
    return layer


def smooth_pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5))
    return encoder.double(), nn.Sequential(nn.ELU(), nn.Linear(5, 4)).double()


def squared_norm(function: Any, at: torch.Tensor) -> float:
    return torch.autograd.functional.jacobian(function, at).square().sum().item()


# The identity


def test_balanced_factors_reach_the_nuclear_norm_and_no_others_do(generator: torch.Generator) -> None:
    """``A = BC`` with ``B = U·√S`` and ``C = √S·V'``; ``½(‖B‖² + ‖C‖²) = ‖A‖_*``."""
    left, values, right = torch.linalg.svd(drawn(4, 6), full_matrices=False)
    nuclear = values.sum().item()
    inputs = torch.zeros(40_000, 6, dtype=torch.float64)
    means = []
    for stretch in (1.0, 2.0):
        head = linear(left * values.sqrt() * stretch)
        encoder = linear((values.sqrt() / stretch)[:, None] * right)
        terms = jacobian_nuclear_norm_penalty(encoder, head, inputs, generator=generator)
        assert terms.balance == pytest.approx(stretch**-4, rel=0.05)
        means.append(terms.penalty.mean().item())
    assert means[0] == pytest.approx(nuclear, rel=0.02)
    assert means[1] == pytest.approx(nuclear * (4 + 1 / 4) / 2, rel=0.02)


def test_the_penalised_fit_is_the_soft_thresholded_matrix() -> None:
    """``½‖WH - Y‖² + ½a‖W‖² + ½b‖H‖²``: singular values of WH are those of Y less ``√(ab)``, or zero."""
    target, a, b = drawn(5, 4), 0.7, 0.3
    left, right = nn.Parameter(drawn(5, 4, seed=1)), nn.Parameter(drawn(4, 4, seed=2))
    optimizer = torch.optim.LBFGS([left, right], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        miss = (left @ right - target).square().sum()
        loss = (miss + a * left.square().sum() + b * right.square().sum()) / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    values = torch.linalg.svdvals(target)
    found = torch.linalg.svdvals((left @ right).detach())
    torch.testing.assert_close(found, (values - math.sqrt(a * b)).clamp(min=0), rtol=0, atol=1e-6)


# The estimate


def test_of_linear_factors_the_estimate_has_the_mean_and_the_spread_of_its_closed_form(
    generator: torch.Generator,
) -> None:
    """Relative standard deviation of a draw: ``√2·‖A'A‖_F/‖A‖_F²``."""
    first, second = drawn(4, 6), drawn(3, 4, seed=1)
    terms = jacobian_nuclear_norm_penalty(linear(first), linear(second), drawn(50_000, 6), generator=generator)
    for matrix, found in ((first, terms.encoder), (second, terms.head)):
        size = matrix.square().sum().item()
        spread = math.sqrt(2) * (matrix.T @ matrix).norm().item() / size
        assert found.mean().item() == pytest.approx(size, abs=4 * spread * size / math.sqrt(50_000))
        assert found.std().item() / size == pytest.approx(spread, rel=0.03)
    torch.testing.assert_close(terms.penalty, (terms.encoder + terms.head) / 2)
    torch.testing.assert_close(terms.outputs, linear(second)(linear(first)(drawn(50_000, 6))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_a_sample_the_mean_is_the_squared_norm_of_its_jacobian(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    encoder, head = smooth_pair()
    at = drawn(3)
    features = encoder(at).detach()
    expected = squared_norm(encoder, at), squared_norm(head, features)
    inputs = at.to(dtype).expand(60_000, 3)
    terms = jacobian_nuclear_norm_penalty(encoder.to(dtype), head.to(dtype), inputs, generator=generator)
    assert terms.encoder.mean().item() == pytest.approx(expected[0], rel=0.03)
    assert terms.head.mean().item() == pytest.approx(expected[1], rel=0.03)
    assert terms.penalty.dtype == dtype


def test_the_mean_is_above_the_nuclear_norm(generator: torch.Generator) -> None:
    """Singular values of the whole Jacobian by central differences and plain loops."""
    encoder, head = smooth_pair()
    for seed in range(3):
        at = drawn(3, seed=seed)
        terms = jacobian_nuclear_norm_penalty(encoder, head, at.expand(20_000, 3), generator=generator)
        matrix = oracle.jacobian(lambda x: head(encoder(torch.tensor(x, dtype=torch.float64))).tolist(), at.tolist())
        assert terms.penalty.mean().item() >= sum(oracle.singular_values(matrix))


def test_gradients_flow_through_every_term(generator: torch.Generator) -> None:
    """They are the derivative of the very numbers returned, the place of the second factor's noise included."""
    encoder, head = smooth_pair()
    inputs = drawn(7, 3)
    parameters = [*encoder.parameters(), *head.parameters()]

    def value(term: str) -> torch.Tensor:
        noise = torch.Generator().manual_seed(5)
        return getattr(jacobian_nuclear_norm_penalty(encoder, head, inputs, generator=noise), term).sum()

    for term in ("penalty", "head", "encoder"):
        slopes = torch.autograd.grad(value(term), parameters, allow_unused=True)
        weight, slope = parameters[0], slopes[0]  # the first layer: through the features, where the term is the head's
        assert slope is not None
        for place in ((0, 0), (3, 2)):
            with torch.no_grad():
                weight[place] += 1e-5
                above = value(term).item()
                weight[place] -= 2e-5
                below = value(term).item()
                weight[place] += 1e-5
            assert slope[place].item() == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-6)


def test_one_output_and_images_are_read(generator: torch.Generator) -> None:
    model = MLP((1, 4, 4), 3, hidden=(8,))
    terms = jacobian_nuclear_norm_penalty(
        model.body, model.classifier, torch.rand(5, 1, 4, 4, generator=generator), generator=generator
    )
    assert terms.penalty.shape == (5,)
    assert terms.outputs.shape == (5, 3)
    column = nn.Sequential(nn.Linear(8, 1), nn.Flatten(0))
    terms = jacobian_nuclear_norm_penalty(model.body, column, torch.rand(5, 1, 4, 4), generator=generator)
    assert terms.outputs.shape == terms.head.shape == (5,)


def test_constant_factors_and_their_balance(generator: torch.Generator) -> None:
    zero, one = linear(torch.zeros(2, 2).double()), linear(torch.eye(2).double())
    inputs = drawn(4, 2)
    assert jacobian_nuclear_norm_penalty(one, zero, inputs, generator=generator).balance == math.inf
    assert jacobian_nuclear_norm_penalty(zero, one, inputs, generator=generator).balance == 0
    assert math.isnan(jacobian_nuclear_norm_penalty(zero, zero, inputs, generator=generator).balance)


# Chance


def test_dropout_draws_the_same_masks_in_both_passes(generator: torch.Generator) -> None:
    """Else the difference would be that of two networks, a million times too large."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.5), nn.Linear(32, 8)).double()
    inputs = drawn(2000, 4)
    terms = jacobian_nuclear_norm_penalty(encoder, linear(torch.eye(8).double()), inputs, generator=generator)
    first, last = (layer.weight.detach() for layer in (encoder[0], encoder[2]))
    # Mean over masks with scale 2: of W₂·D·W₁ with E[D_ii·D_jj] = 1, and 2 where i = j.
    kept = (last @ first).square().sum() + (last.square().sum(dim=0) * first.square().sum(dim=1)).sum()
    assert terms.encoder.mean().item() == pytest.approx(kept.item(), rel=0.1)


def test_buffers_and_random_state_are_as_after_one_pass(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(spectral_norm(nn.Linear(4, 6)), nn.Dropout(0.5))
    head, inputs = nn.Linear(6, 2), torch.randn(5, 4, generator=generator)
    expected = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    drawn_before = torch.get_rng_state()
    head(encoder(inputs))
    after = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    drawn_after = torch.get_rng_state()
    torch.set_rng_state(drawn_before)
    with torch.no_grad():
        for name, buffer in encoder.named_buffers():
            buffer.copy_(expected[name])
    terms = jacobian_nuclear_norm_penalty(encoder, head, inputs, generator=generator)
    assert torch.equal(torch.get_rng_state(), drawn_after)
    assert all(torch.equal(buffer, after[name]) for name, buffer in encoder.named_buffers())
    assert terms.encoder.max() < 100
    terms.penalty.mean().backward()


def test_a_generator_draws_the_noise() -> None:
    encoder, head = smooth_pair()
    found = [
        jacobian_nuclear_norm_penalty(encoder, head, drawn(4, 3), generator=torch.Generator().manual_seed(seed)).penalty
        for seed in (0, 0, 1)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.isclose(found[0], found[2]).any()
    before = torch.get_rng_state()
    jacobian_nuclear_norm_penalty(encoder, head, drawn(4, 3), generator=torch.Generator())
    assert torch.equal(before, torch.get_rng_state())
    jacobian_nuclear_norm_penalty(encoder, head, drawn(4, 3))
    assert not torch.equal(before, torch.get_rng_state())


# Errors


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_in_training_mode_is_refused(training: bool) -> None:
    coupled = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=training)).train(training)
    head = nn.Linear(4, 2)
    with pytest.raises(ValueError, match="batch-norm layer '1' of the encoder takes its statistics from the batch"):
        jacobian_nuclear_norm_penalty(coupled, head, torch.zeros(5, 3))
    with pytest.raises(ValueError, match="batch-norm layer '1' of the head"):
        jacobian_nuclear_norm_penalty(nn.Linear(4, 3), coupled, torch.zeros(5, 4))
    if training:
        assert jacobian_nuclear_norm_penalty(coupled.eval(), head, torch.zeros(5, 3)).penalty.shape == (5,)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 0.0098), (torch.bfloat16, 0.078)])
def test_half_precision_needs_a_larger_sigma(dtype: torch.dtype, least: float) -> None:
    pair = nn.Linear(3, 4).to(dtype), nn.Linear(4, 2).to(dtype)
    with pytest.raises(ValueError, match=f"sigma must be at least {least} in {dtype}, got 0.001: rounding"):
        jacobian_nuclear_norm_penalty(*pair, torch.zeros(5, 3, dtype=dtype))
    terms = jacobian_nuclear_norm_penalty(*pair, torch.zeros(5, 3, dtype=dtype), sigma=0.1)
    assert terms.penalty.dtype == torch.float32
    with torch.autocast("cpu", dtype), pytest.raises(ValueError, match="outside of autocast"):
        jacobian_nuclear_norm_penalty(nn.Linear(3, 4), nn.Linear(4, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"in torch.float32, got 1e-07"):
        jacobian_nuclear_norm_penalty(nn.Linear(3, 4), nn.Linear(4, 2), torch.zeros(5, 3), sigma=1e-7)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"inputs": torch.zeros(0, 3)}, ValueError),
        ({"inputs": torch.zeros(3)}, ValueError),
        ({"inputs": torch.zeros(5, 3, dtype=torch.int64)}, TypeError),
        ({"sigma": 0.0}, ValueError),
        ({"sigma": math.nan}, ValueError),
        ({"sigma": math.inf}, ValueError),
        ({"encoder": F.relu}, TypeError),
        ({"head": nn.Flatten(0)}, ValueError),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    given = {"encoder": nn.Linear(3, 4), "head": nn.Linear(4, 2), "inputs": torch.zeros(5, 3), **change}
    with pytest.raises(error):
        jacobian_nuclear_norm_penalty(given.pop("encoder"), given.pop("head"), given.pop("inputs"), **given)


def test_factors_that_return_no_tensor_are_refused() -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(TypeError, match="Pair must return a floating-point tensor, got tuple"):
        jacobian_nuclear_norm_penalty(Pair(), nn.Linear(3, 2), torch.zeros(5, 3))
